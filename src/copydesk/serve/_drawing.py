"""Draw next tokens for many rows at once; each row draws as it would alone.

Where there are compiled kernels, the rows of a step are drawn in one call, shared out among the
threads. Rows that must follow a grammar, or whose log-probabilities are wanted, and all rows where
there are no kernels, are drawn by numpy one after the other: a row fits the cache, a batch of them
does not. benchmarks/step_parts.py times both.
"""

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from copydesk.errors import CopydeskError
from copydesk.records import Sampling
from copydesk.serve._kernels import Choice, Kernels

_COLDEST = 1e-6
"""Temperatures below it are taken as this."""
_FLOORS = (1e-2, 1e-4, 1e-6, 0.0)
"""Shares of the likeliest token's probability below which tokens are not looked at, tried in turn:
what is sorted is some hundreds of tokens and not all."""
Floats = npt.NDArray[np.float32]


@dataclass(slots=True, kw_only=True)
class Drawer:
    """How one request draws, and what it drew from before."""

    sampling: Sampling
    logprobs: int | None = None
    constraint: Any = None
    """A `Grammar`, where the text must follow one."""
    source: random.Random = field(init=False)
    seen: "array[int]" = field(default_factory=lambda: array("q"))
    """Tokens of prompt and text, each once, where repetition is penalised."""
    _known: set[int] = field(init=False, default_factory=set[int])

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

    @property
    def simple(self) -> bool:
        """Nothing but a token is wanted, of all the vocabulary's."""
        return self.constraint is None and self.logprobs is None

    def note(self, ids: Iterable[int]) -> None:
        """Remember what stands in the text."""
        if self.sampling.repetition_penalty == 1:
            return
        for token in ids:
            if token >= 0 and token not in self._known:
                self._known.add(token)
                self.seen.append(token)

    def choice(self) -> Choice:
        """The next draw, as the kernel reads it; valid until the next `note`."""
        sampling = self.sampling
        return Choice(
            seen=self.seen.buffer_info()[0],
            count=len(self.seen),
            point=self.source.random() if sampling.temperature > 0 else 0.0,
            top_p=sampling.top_p,
            temperature=sampling.temperature,
            penalty=sampling.repetition_penalty,
        )


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


def draw(
    logits_RV: torch.Tensor, drawers: Sequence[Drawer], kernels: Kernels | None = None
) -> list[Drawn]:
    """One token for each row.

    Args:
        logits_RV: float32 or bfloat16; it may be changed.
        drawers: one a row.
        kernels: used for logits in bfloat16.
    """
    if kernels is None or logits_RV.dtype != torch.bfloat16:
        return _one_by_one(logits_RV, drawers)
    simple = [row for row, drawer in enumerate(drawers) if drawer.simple]
    drawn: dict[int, Drawn] = {}
    if simple:
        own = logits_RV if len(simple) == len(drawers) else logits_RV[simple]
        chosen = kernels.draw(own.contiguous(), [drawers[row].choice() for row in simple])
        for row, token in zip(simple, chosen, strict=True):
            if token >= 0:
                drawers[row].note((token,))
            drawn[row] = Drawn(token=max(token, 0), finite=token >= 0)
    if rest := [row for row in range(len(drawers)) if row not in drawn]:
        found = _one_by_one(logits_RV[rest], [drawers[row] for row in rest])
        drawn |= dict(zip(rest, found, strict=True))
    return [drawn[row] for row in range(len(drawers))]


def _one_by_one(logits_RV: torch.Tensor, drawers: Sequence[Drawer]) -> list[Drawn]:
    logits_RV = logits_RV.float()
    best, finite = _best(logits_RV)
    apart = any(not drawer.plain or drawer.logprobs is not None for drawer in drawers)
    rows_RV: Floats = logits_RV.cpu().numpy() if apart else np.empty((len(drawers), 0), np.float32)
    drawn: list[Drawn] = []
    for row, drawer in enumerate(drawers):
        if not finite[row]:
            drawn.append(Drawn(token=0, finite=False))
            continue
        logits_V = rows_RV[row]
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


def _chosen(logits_V: Floats, drawer: Drawer) -> int:
    sampling = drawer.sampling
    scores_V = logits_V.copy()
    if drawer.constraint is not None:
        drawer.constraint.restrict(torch.from_numpy(scores_V))
    if drawer.seen:
        ids = np.array(drawer.seen)
        found = scores_V[ids]
        penalty = sampling.repetition_penalty  # Keskar et al. 2019, as transformers does it
        scores_V[ids] = np.where(found < 0, found * penalty, found / penalty)
    if sampling.temperature <= 0:
        return int(scores_V.argmax())
    scores_V /= max(sampling.temperature, _COLDEST)
    point = drawer.source.random()
    if sampling.top_p >= 1:
        mass_V = np.cumsum(_weights(scores_V), dtype=np.float64)
        return _at(mass_V, point * mass_V[-1])
    probabilities, ids = _nucleus(scores_V, sampling.top_p)
    mass = probabilities.cumsum()
    return int(ids[_at(mass, point * mass[-1])])


def _weights(scores_V: Floats) -> Floats:
    """Probabilities over the likeliest token's."""
    return np.exp(scores_V - scores_V.max())


def _at(mass: npt.NDArray[np.float64], point: float) -> int:
    """The first index whose mass is above the point."""
    return min(int(mass.searchsorted(point, side="right")), len(mass) - 1)


def _nucleus(
    scores_V: Floats, top_p: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The fewest likeliest tokens that hold `top_p` (Holtzman et al. 2020), best first."""
    weights_V = _weights(scores_V)
    total = weights_V.sum(dtype=np.float64)
    ids = np.arange(0)
    for floor in _FLOORS:
        ids = np.flatnonzero(weights_V >= floor)
        if weights_V[ids].sum(dtype=np.float64) >= top_p * total:
            break
    ids = ids[np.argsort(-weights_V[ids], kind="stable")]
    probabilities = weights_V[ids] / total
    before = probabilities.cumsum() - probabilities
    kept = max(1, int((before < top_p).sum()))
    return probabilities[:kept], ids[:kept]


def _with_logprobs(logits_V: Floats, token: int, count: int) -> Drawn:
    most = logits_V.max()
    log_total = most + np.log(np.exp(logits_V - most).sum(dtype=np.float64))
    count = min(count, len(logits_V))
    # A copy of the row is cut at the place of the last that is wanted, and what is above sorted.
    ids = np.argpartition(-logits_V, count - 1)[:count] if count else np.empty(0, dtype=np.int64)
    ids = ids[np.argsort(-logits_V[ids], kind="stable")]
    return Drawn(
        token=token,
        logprob=float(logits_V[token] - log_total),
        top=tuple((int(one), float(logits_V[one] - log_total)) for one in ids),
    )
