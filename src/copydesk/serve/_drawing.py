"""Draw next tokens for many rows at once; each row draws as it would alone."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from copydesk.errors import CopydeskError
from copydesk.records import Sampling

_FIRST = 256
"""Likeliest tokens that are looked at before all are sorted."""


@dataclass(slots=True, kw_only=True)
class Drawer:
    """How one request draws, and what it drew from before."""

    sampling: Sampling
    logprobs: int | None = None
    constraint: Any = None
    """A `Grammar`, where the text must follow one."""
    source: random.Random = field(init=False)
    seen: dict[int, None] = field(default_factory=dict[int, None])
    """Tokens of prompt and text, each once, where repetition is penalised."""

    def __post_init__(self) -> None:
        self.source = random.Random(self.sampling.seed)

    @property
    def plain(self) -> bool:
        """The likeliest token, as the model says it."""
        return (
            self.sampling.temperature <= 0
            and self.sampling.repetition_penalty == 1
            and self.constraint is None
        )

    def note(self, ids: Iterable[int]) -> None:
        """Remember what stands in the text."""
        if self.sampling.repetition_penalty != 1:
            self.seen.update(dict.fromkeys(token for token in ids if token >= 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A token, or why there is none."""

    token: int
    finite: bool = True
    """False where the logits hold NaN or infinity: the row is lost."""
    failure: CopydeskError | None = None
    """Why nothing could be drawn from finite logits."""
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


def draw(logits_RV: torch.Tensor, drawers: Sequence[Drawer]) -> list[Drawn]:
    """One token for each row.

    Args:
        logits_RV: float32 or bfloat16; it may be changed.
        drawers: one a row.
    """
    logits_RV = logits_RV.float()
    best, finite = _best(logits_RV)
    drawn: list[Drawn] = []
    for row, drawer in enumerate(drawers):
        if not finite[row]:
            drawn.append(Drawn(token=0, finite=False))
            continue
        logits_V = logits_RV[row]
        try:
            token = best[row] if drawer.plain else _chosen(logits_V, drawer)
        except CopydeskError as error:
            drawn.append(Drawn(token=0, failure=error))
            continue
        drawer.note((token,))
        if drawer.logprobs is None:
            drawn.append(Drawn(token=token))
        else:
            drawn.append(_with_logprobs(logits_V, token, drawer.logprobs))
    return drawn


def _best(logits_RV: torch.Tensor) -> tuple[list[int], list[bool]]:
    """Each row's likeliest token, and whether the row is finite at its top."""
    if logits_RV.device.type == "cpu":  # twelve times as fast as torch's argmax
        array = logits_RV.numpy()
        best = array.argmax(-1)
        tops = torch.from_numpy(array[range(len(array)), best])
        return best.tolist(), tops.isfinite().tolist()
    tops, best = logits_RV.max(-1)
    return best.tolist(), tops.isfinite().tolist()


def _chosen(logits_V: torch.Tensor, drawer: Drawer) -> int:
    sampling = drawer.sampling
    scores_V = logits_V.clone()
    if drawer.constraint is not None:
        drawer.constraint.restrict(scores_V)
    if drawer.seen:
        ids = torch.tensor(list(drawer.seen), device=scores_V.device)
        found = scores_V[ids]
        penalty = sampling.repetition_penalty  # Keskar et al. 2019, as transformers does it
        scores_V[ids] = torch.where(found < 0, found * penalty, found / penalty)
    if sampling.temperature <= 0:
        return int(scores_V.argmax())
    scores_V.div_(sampling.temperature)
    point = drawer.source.random()
    if sampling.top_p >= 1:
        mass_V = scores_V.softmax(-1).double().cumsum(0)
        return _at(mass_V, point * float(mass_V[-1]))
    probabilities, ids = _nucleus(scores_V, sampling.top_p)
    mass = probabilities.double().cumsum(0)
    return int(ids[_at(mass, point * float(mass[-1]))])


def _at(mass: torch.Tensor, point: float) -> int:
    """The first index whose mass is above the point."""
    place = torch.tensor(point, dtype=mass.dtype, device=mass.device)
    return min(int(torch.searchsorted(mass, place, right=True)), len(mass) - 1)


def _nucleus(scores_V: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The fewest likeliest tokens that hold `top_p` (Holtzman et al. 2020), best first."""
    log_total = scores_V.logsumexp(-1)
    for count in (min(_FIRST, len(scores_V)), len(scores_V)):
        top, ids = scores_V.topk(count)
        probabilities = (top - log_total).exp()
        before = probabilities.cumsum(0) - probabilities
        if float(before[-1] + probabilities[-1]) >= top_p or count == len(scores_V):
            kept = max(1, int((before < top_p).sum()))
            return probabilities[:kept], ids[:kept]
    raise AssertionError


def _with_logprobs(logits_V: torch.Tensor, token: int, count: int) -> Drawn:
    log_total = logits_V.logsumexp(-1)
    top, ids = logits_V.topk(min(count, len(logits_V))) if count else (logits_V[:0], logits_V[:0])
    return Drawn(
        token=token,
        logprob=float(logits_V[token] - log_total),
        top=tuple(zip(map(int, ids.tolist()), (top - log_total).tolist(), strict=True)),
    )
