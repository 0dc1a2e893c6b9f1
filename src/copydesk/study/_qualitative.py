"""The qualitative table: low, medium or high, each word with the figure and threshold behind it.

Such tables are usually filled in from hearsay. Here a cell's word follows from a figure of the
comparison by a threshold of `THRESHOLDS`; a figure that was not measured gives no word. The
thresholds are this project's own, set where a reader would agree with the word.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from copydesk.records import Comparison, MethodRow
from copydesk.study._rows import UNTUNED

Word = Literal["low", "medium", "high", "unknown"]
Aspect = Literal["compute", "speed", "memory", "storage", "ceiling", "forgetting", "flexibility"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Where one word ends and the next begins."""

    low_until: float
    """The highest figure that is low."""
    medium_until: float
    """The highest that is medium."""
    says: str
    """What the figure is, for the table's legend."""


THRESHOLDS: Mapping[Aspect, Threshold] = {
    "compute": Threshold(
        low_until=50,
        medium_until=90,
        says="training time with its sweep, % of full's: low to 50, medium to 90",
    ),
    "speed": Threshold(
        low_until=1.2,
        medium_until=2.0,
        says="training tokens a second, times full's: low to 1.2, medium to 2",
    ),
    "memory": Threshold(
        low_until=35,
        medium_until=70,
        says="peak memory, % of full's: low to 35, medium to 70",
    ),
    "storage": Threshold(
        low_until=10,
        medium_until=50,
        says="bytes kept for a client, % of full's: low to 10, medium to 50",
    ),
    "ceiling": Threshold(
        low_until=80,
        medium_until=95,
        says="% of full's gain on held-out pages: low to 80, medium to 95",
    ),
    "forgetting": Threshold(
        low_until=0.02,
        medium_until=0.1,
        says="rise of the loss on general text in nats, or share of instruction tasks lost, "
        "whichever is more: low to 0.02, medium to 0.1",
    ),
    "flexibility": Threshold(
        low_until=2,
        medium_until=10,
        says="clients in the disk space of one full copy: low to 2, medium to 10",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One cell of the qualitative table."""

    method: str
    aspect: Aspect
    word: Word
    figure: float | None
    """In the unit that the aspect's threshold names; None where it was not measured."""
    said: str
    """The figure, for people."""


def qualitative(comparison: Comparison) -> tuple[Judgement, ...]:
    """Every tuning method on every aspect, method by method.

    Most figures are against full fine-tuning's: where it was not measured to its end, their words
    are `unknown`.
    """
    full = next(
        (row for row in comparison.rows if row.method == "full" and row.status == "done"), None
    )
    return tuple(
        _judge(row, aspect, figure(row, full))
        for row in comparison.rows
        if row.method not in UNTUNED
        for aspect, figure in _FIGURES.items()
    )


def _judge(row: MethodRow, aspect: Aspect, figure: float | None) -> Judgement:
    threshold = THRESHOLDS[aspect]
    word: Word
    if figure is None:
        word = "unknown"
    elif figure <= threshold.low_until:
        word = "low"
    else:
        word = "medium" if figure <= threshold.medium_until else "high"
    said = "-" if figure is None else _SAID[aspect].format(figure)
    return Judgement(method=row.method, aspect=aspect, word=word, figure=figure, said=said)


def _compute(row: MethodRow) -> float | None:
    return None if row.train_seconds is None else row.train_seconds + (row.sweep_seconds or 0.0)


def _ratio(
    of: Callable[[MethodRow], float | None], scale: float
) -> Callable[[MethodRow, MethodRow | None], float | None]:
    def figure(row: MethodRow, full: MethodRow | None) -> float | None:
        one, whole = of(row), of(full) if full else None
        return scale * one / whole if one is not None and whole else None

    return figure


def _forgetting(row: MethodRow, _: MethodRow | None) -> float | None:
    found: Sequence[float] = [
        figure
        for figure in (
            row.forgetting,
            None if row.instruction_change is None else -row.instruction_change,
        )
        if figure is not None
    ]
    return max(found, default=None)


def _clients(row: MethodRow, full: MethodRow | None) -> float | None:
    if full is None or not full.artifact_bytes or not row.artifact_bytes:
        return None
    return full.artifact_bytes / row.artifact_bytes


_FIGURES: Mapping[Aspect, Callable[[MethodRow, MethodRow | None], float | None]] = {
    "compute": _ratio(_compute, 100),
    "speed": _ratio(lambda row: row.tokens_per_second, 1),
    "memory": _ratio(lambda row: row.peak_memory_bytes, 100),
    "storage": _ratio(lambda row: row.artifact_bytes, 100),
    "ceiling": lambda row, _: row.relative_performance,
    "forgetting": _forgetting,
    "flexibility": _clients,
}
_SAID: Mapping[Aspect, str] = {
    "compute": "{:.0f}%",
    "speed": "{:.1f}x",
    "memory": "{:.0f}%",
    "storage": "{:.1f}%",
    "ceiling": "{:.0f}%",
    "forgetting": "{:+.3f}",
    "flexibility": "{:.0f}",
}
