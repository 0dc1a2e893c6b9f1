"""Draw next tokens for many rows at once; each row draws as it would alone.

Rows are drawn by numpy, on one thread: what is sorted is small, and a row of 50,000 numbers is too
short to be shared out.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from copydesk.errors import CopydeskError
from copydesk.records import Sampling

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
        ids = np.fromiter(drawer.seen, dtype=np.int64, count=len(drawer.seen))
        found = scores_V[ids]
        penalty = sampling.repetition_penalty  # Keskar et al. 2019, as transformers does it
        scores_V[ids] = np.where(found < 0, found * penalty, found / penalty)
    if sampling.temperature <= 0:
        return int(scores_V.argmax())
    scores_V /= sampling.temperature
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
