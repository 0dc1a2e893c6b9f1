"""What a run's curve says: a loss that has exploded, and the best weights so far.

Both are read from the curve alone, so that a resumed run judges as if it had not stopped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from copydesk.records import LossPoint

MARGIN = 1.0
"""Nats a token: the loss is e times as surprised as at the start."""
STEPS = 10
"""So many steps in a row."""
_KEEP = 0.8
"""Weight of the past in the smoothed loss: a half-life of three steps."""


class DivergenceWatch:
    """Tells when the smoothed training loss has been far above where it started for long.

    A run has diverged when the exponentially smoothed loss lies more than `MARGIN` above the higher
    of the first step's loss and the untuned held-out loss for `STEPS` steps. A usual run never
    does: batches of one client differ by tenths of a nat. Measured on the tiny test base, going on
    from 60 trained steps: 18 runs that learned, at up to 500 times the usual rate, never rose more
    than 0.3; six that did not learn rose more than 2.
    """

    def __init__(self, curve: Iterable[LossPoint]) -> None:
        self._start: float | None = None
        self._smooth: float | None = None
        self.steps_above = 0
        for point in curve:
            self.add(point)

    def add(self, point: LossPoint) -> bool:
        """Take in the next point; true once the run has diverged."""
        if point.train_loss is None:
            self._start = point.heldout_loss
            return False
        if self._smooth is None:
            self._smooth = point.train_loss
            self._start = max(point.train_loss, self._start or 0.0)
        self._smooth = _KEEP * self._smooth + (1 - _KEEP) * point.train_loss
        assert self._start is not None
        above = self._smooth > self._start + MARGIN
        self.steps_above = self.steps_above + 1 if above else 0
        return self.steps_above >= STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The scoring with the lowest held-out loss."""

    step: int
    loss: float
    scorings_since: int
    """Scorings after it, none of which was lower."""


def best_of(curve: Sequence[LossPoint]) -> Best | None:
    """The best scored point after a step of training; the first of equals."""
    scored = [point for point in curve if point.step and point.heldout_loss is not None]
    best: Best | None = None
    for place, point in enumerate(scored):
        assert point.heldout_loss is not None
        if best is None or point.heldout_loss < best.loss:
            since = len(scored) - 1 - place
            best = Best(step=point.step, loss=point.heldout_loss, scorings_since=since)
    return best
