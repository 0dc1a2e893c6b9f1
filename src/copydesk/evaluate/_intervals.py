"""Means over documents and their bootstrap intervals.

Pages differ more than tokens do, so pages are what is resampled (percentile bootstrap, Efron 1979):
B draws of n pages with replacement, the figure computed on each, and the 2.5th and 97.5th
percentile taken. Two models are compared on the same drawn pages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from copydesk.models import ExampleLoss

DRAWS = 4000
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float


def mean_loss(losses: "Sequence[ExampleLoss]") -> float:
    """Nats a token, over all tokens of all examples."""
    return sum(loss.loss for loss in losses) / sum(loss.tokens for loss in losses)


def mean_loss_interval(losses: "Sequence[ExampleLoss]", *, seed: int = 0) -> Interval:
    """Mean loss and its interval over documents."""
    drawn = _drawn_means(losses, _draws(len(losses), seed))
    return percentile_interval(mean_loss(losses), drawn)


def loss_difference(
    after: "Sequence[ExampleLoss]", before: "Sequence[ExampleLoss]", *, seed: int = 0
) -> Interval:
    """Mean loss of `after` minus that of `before` on the same documents, paired."""
    draws = _paired_draws(after, before, seed=seed)
    drawn = _drawn_means(after, draws) - _drawn_means(before, draws)
    return percentile_interval(mean_loss(after) - mean_loss(before), drawn)


def mean_difference(after: Sequence[float], before: Sequence[float], *, seed: int = 0) -> Interval:
    """Mean of `after` minus that of `before`, two figures of each document, paired."""
    assert len(after) == len(before) > 0
    differences: _Floats = np.asarray(after, dtype=np.float64) - np.asarray(before, np.float64)
    drawn = differences[_draws(len(differences), seed)].mean(axis=1)
    return percentile_interval(float(differences.mean()), drawn)


def _draws(count: int, seed: int) -> npt.NDArray[np.int64]:
    """[DRAWS, count] document numbers."""
    return np.random.default_rng(seed).integers(0, count, size=(DRAWS, count))


def _paired_draws(*groups: "Sequence[ExampleLoss]", seed: int) -> npt.NDArray[np.int64]:
    counts = {len(group) for group in groups}
    tokens = {tuple(loss.tokens for loss in group) for group in groups}
    assert len(counts) == 1 and len(tokens) == 1, "paired losses must be of the same documents"
    return _draws(counts.pop(), seed)


def _drawn_means(losses: "Sequence[ExampleLoss]", draws: npt.NDArray[np.int64]) -> _Floats:
    sums: _Floats = np.array([loss.loss for loss in losses], dtype=np.float64)
    tokens: _Floats = np.array([loss.tokens for loss in losses], dtype=np.float64)
    return sums[draws].sum(axis=1) / tokens[draws].sum(axis=1)


def percentile_interval(value: float, drawn: Any) -> Interval:
    """A figure with the 2.5th and 97.5th percentile of its bootstrap draws."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value=value, low=float(low), high=float(high))
