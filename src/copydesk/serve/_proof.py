"""Does the engine say of an adapter what PEFT says of it?

Shape letters: V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from copydesk.models import BaseInfo, encode_chat, free_memory, load_adapter, load_base, text_logits
from copydesk.records import AdapterRef, Generate, Message, Piece, Sampling, TokenLogprob
from copydesk.serve._settings import EngineSettings
from copydesk.serve._start import start_engine

_TOKENS = 8
"""Written after each chat."""
_LIKELIEST = 20
"""Alternatives whose log-probabilities are compared at each token."""
_TIE = 1e-3
"""Nats between two tokens from which on rounding may choose either; nothing behind such a place is
compared."""
_CPU = torch.device("cpu")
_GREEDY = Sampling(max_new_tokens=_TOKENS, temperature=0, repetition_penalty=1.0)

_Steps = list[tuple[float, ...]]
"""Of each token, the log-probabilities of the likeliest, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What the model says without an engine."""

    steps: tuple[_Steps, ...]
    """Of each chat."""
    longest: int
    """Positions that a chat and its answer take, virtual tokens too."""


def engine_difference(
    info: BaseInfo, adapter: AdapterRef, chats: Sequence[Sequence[Message]]
) -> float:
    """Load an adapter into an engine and compare what it says with PEFT's forward.

    All chats run in one batch, greedily, in float32 on the CPU, where the difference is rounding
    alone. The base and the adapter are loaded twice, one after the other.

    Args:
        info: the base, as an engine holds it: not in 4 bits, whatever it was trained beside.
        adapter: of a method that engines take.
        chats: what is continued.

    Returns:
        The largest difference of a log-probability, in nats, of the likeliest tokens at each place.

    Raises:
        CopydeskError: the engine or PEFT cannot load the adapter, or its numbers are not finite.
    """
    expected = _expected(info, adapter, chats)
    free_memory()
    settings = EngineSettings(
        max_running=len(chats),
        max_adapters=len(chats),
        max_length=expected.longest + 1,
        prefix_cache_bytes=0,
    )
    engine = start_engine(load_base(info, device=_CPU, dtype=torch.float32), settings)
    try:
        heard: list[list[TokenLogprob]] = [[] for _ in chats]
        jobs = [
            engine.submit(_wanted(chat, adapter), _listener(found))
            for chat, found in zip(chats, heard, strict=True)
        ]
        for job in jobs:
            job.result()
    finally:
        engine.stop()
    return max(
        _apart([_values(token) for token in found], steps)
        for found, steps in zip(heard, expected.steps, strict=True)
    )


def _wanted(chat: Sequence[Message], adapter: AdapterRef) -> Generate:
    return Generate(prompt=tuple(chat), adapter=adapter, sampling=_GREEDY, logprobs=_LIKELIEST)


def _listener(found: list[TokenLogprob]) -> Callable[[Piece], None]:
    def hear(piece: Piece) -> None:
        found.extend(piece.logprobs)

    return hear


def _values(token: TokenLogprob) -> tuple[float, ...]:
    return tuple(value for _, _, value in token.top)


def _expected(info: BaseInfo, adapter: AdapterRef, chats: Sequence[Sequence[Message]]) -> _Expected:
    """Each token from the whole text anew, without a cache."""
    base = load_base(info, device=_CPU, dtype=torch.float32)
    tuned = load_adapter(base, adapter.path, bound_to=adapter.base_digest)
    found: list[_Steps] = []
    longest = 0
    for chat in chats:
        ids = list(encode_chat(base.tokenizer, chat))
        longest = max(longest, tuned.virtual_tokens + len(ids) + _TOKENS)
        steps: _Steps = []
        for _ in range(_TOKENS):
            logprobs_V = text_logits(tuned, ids)[-1].log_softmax(-1)
            top = logprobs_V.topk(min(_LIKELIEST, len(logprobs_V)))
            steps.append(tuple(top.values.tolist()))
            ids.append(int(top.indices[0]))
        found.append(steps)
    return _Expected(steps=tuple(found), longest=longest)


def _apart(heard: _Steps, expected: _Steps) -> float:
    """The largest difference; infinite where nothing was heard."""
    if not heard:
        return math.inf
    furthest = 0.0
    # An engine ends at an end of turn, which the model is made to write past.
    for found, wanted in zip(heard, expected, strict=False):
        for one, other in zip(found, wanted, strict=True):
            gap = abs(one - other)
            furthest = max(furthest, math.inf if math.isnan(gap) else gap)
        if len(wanted) > 1 and wanted[0] - wanted[1] < _TIE:
            break
    return furthest
