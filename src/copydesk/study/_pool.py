"""Cells of several clients and seeds, made into one method's figures.

Times and counts of tokens are sums over clients and means over seeds; losses are pooled over
documents; memory is the greatest there was.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from copydesk.evaluate import RunLosses, run_losses
from copydesk.models import ExampleLoss
from copydesk.records import LossPoint
from copydesk.study._cells import Cell

_POINTS = 24
"""Points of the curve of several clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One method's cells: a client's runs by seed, client by client, in the question's order."""

    runs: tuple[tuple[Cell, ...], ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them."""
        return tuple(cell for runs in self.runs for cell in runs)

    @property
    def seeds(self) -> int:
        """Runs of the client that has the fewest."""
        return min(map(len, self.runs))

    def losses(self, part: str) -> list[RunLosses]:
        """Of `heldout`, `general` or `others`, client by client; empty where there are none."""
        found: list[RunLosses] = []
        for runs in self.runs:
            scored: list[tuple[ExampleLoss, ...]] = [getattr(cell, part) for cell in runs]
            if scored[0]:
                found.append(run_losses(scored))
        return found

    def total(self, figure: Callable[[Cell], float]) -> float:
        """The sum over clients of a figure's mean over seeds."""
        return sum(statistics.fmean(map(figure, runs)) for runs in self.runs)

    def mean(self, figure: Callable[[Cell], float | None]) -> float | None:
        """The mean over the cells that have a figure; None where none has."""
        found = [value for cell in self.cells if (value := figure(cell)) is not None]
        return statistics.fmean(found) if found else None

    def epoch_seconds(self, epoch_tokens: Sequence[int]) -> float | None:
        """Training time of one pass over all clients' pages, at each client's own rate."""
        seconds = 0.0
        for runs, tokens in zip(self.runs, epoch_tokens, strict=True):
            done = sum(cell.tokens for cell in runs)
            if not done:
                return None
            seconds += tokens * sum(cell.train_seconds for cell in runs) / done
        return seconds

    def curve(self) -> tuple[LossPoint, ...]:
        """The first seed's; of several clients one over shares of the run, held-out loss alone."""
        firsts = [runs[0] for runs in self.runs]
        if len(firsts) == 1:
            return firsts[0].curve
        points: list[LossPoint] = []
        for part in range(_POINTS + 1):
            share = part / _POINTS
            loss = seconds = 0.0
            for cell in firsts:
                step = share * cell.curve[-1].step
                tokens = sum(one.tokens for one in cell.heldout)
                loss += tokens * _at(step, _scored(cell.curve))
                seconds += _at(step, [(point.step, point.seconds) for point in cell.curve])
            tokens = sum(one.tokens for cell in firsts for one in cell.heldout)
            steps = round(share * sum(cell.curve[-1].step for cell in firsts))
            points.append(LossPoint(step=steps, seconds=seconds, heldout_loss=loss / tokens))
        return tuple(points)


def seconds_until(curve: Sequence[LossPoint], loss: float) -> float | None:
    """Training time until the held-out loss was as low as `loss`, by straight lines between
    scorings; None where it never was."""
    scored = [(point.seconds, point.heldout_loss) for point in curve]
    before: tuple[float, float] | None = None
    for seconds, value in scored:
        if value is None:
            continue
        if value <= loss:
            if before is None:
                return seconds
            return before[0] + (seconds - before[0]) * (before[1] - loss) / (before[1] - value)
        before = seconds, value
    return None


def _scored(curve: Sequence[LossPoint]) -> list[tuple[float, float]]:
    return [(point.step, point.heldout_loss) for point in curve if point.heldout_loss is not None]


def _at(place: float, points: Sequence[tuple[float, float]]) -> float:
    """The value at a place, by straight lines between points; ends beyond them."""
    before = points[0]
    for point in points[1:]:
        if place <= point[0]:
            width = point[0] - before[0]
            return before[1] + (point[1] - before[1]) * (place - before[0]) / width
        before = point
    return before[1]
