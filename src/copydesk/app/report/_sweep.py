"""The learning rates that were tried, and what the trying took."""

from copydesk.app.report import _units
from copydesk.app.report._methods import method_name
from copydesk.app.report._symbols import badge
from copydesk.app.report._table import Cell, Line, Table
from copydesk.records import Comparison


def sweep_table(comparison: Comparison) -> Table | None:
    """A line a rate; None where none was tried."""
    lines = tuple(
        Line(
            name=method_name(row.method),
            badge=badge(row.method),
            tag="Chosen" if tried.learning_rate == row.learning_rate else "",
            cells=(
                Cell(value=_units.rate(tried.learning_rate)),
                Cell(value="diverged" if tried.loss is None else _units.number(tried.loss, 3)),
                Cell(value=_units.duration(tried.seconds)),
            ),
        )
        for row in comparison.rows
        for tried in sorted(row.swept, key=lambda rate: rate.learning_rate)
    )
    if not lines:
        return None
    return Table(
        caption="Learning rates tried",
        head="Method",
        columns=("Learning rate", "Loss on pages set aside", "Time"),
        lines=lines,
    )


def sweep_summary(comparison: Comparison) -> str:
    """How many short runs it was, how long they took, and their share of all that was run."""
    runs = sum(len(row.swept) for row in comparison.rows)
    seconds = sum(
        sum(tried.seconds for tried in row.swept)
        if row.sweep_seconds is None
        else row.sweep_seconds
        for row in comparison.rows
    )
    said = f"{_units.plural(runs, 'short run')}, {_units.duration(seconds)} in all"
    if comparison.spent_seconds:
        said += f", {_units.percent(100 * seconds / comparison.spent_seconds)} of the comparison"
    return said
