"""The table of a comparison: what each method gave and cost."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from copydesk.app.report import _units
from copydesk.app.report._methods import method_in_sentence, method_name, status_text
from copydesk.app.report._symbols import badge
from copydesk.app.report._table import Cell, Line, Table
from copydesk.records import Comparison, MethodRow


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    group: str
    head: str
    cell: Callable[[MethodRow], Cell]


def measures(comparison: Comparison) -> Table:
    """One line a method, in the comparison's order.

    Columns that no row has a figure for are left out. Rows that failed or were cut keep their
    place and say why.
    """
    columns = [
        column for column in _COLUMNS if any(column.cell(row).known for row in comparison.rows)
    ]
    groups = itertools.groupby(column.group for column in columns)
    return Table(
        caption="What each method gave and cost",
        head="Method",
        columns=tuple(column.head for column in columns),
        groups=tuple((name, len(list(heads))) for name, heads in groups),
        lines=tuple(_line(row, columns, comparison.recommended) for row in comparison.rows),
    )


def _line(row: MethodRow, columns: Sequence[_Column], recommended: str | None) -> Line:
    notes: list[str] = []
    if row.tied_with:
        notes.append(f"tied with {_listed(row.tied_with)}")
    if row.seeds > 1:
        notes.append(f"mean of {row.seeds} runs")
    return Line(
        name=method_name(row.method),
        badge=badge(row.method),
        tag="Recommended" if row.method == recommended else "",
        notes=tuple(notes),
        problem=status_text(row.status, row.error),
        cells=tuple(column.cell(row) for column in columns),
    )


def _listed(methods: Sequence[str]) -> str:
    names = [method_in_sentence(method) for method in methods]
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _relative(row: MethodRow) -> Cell:
    bounds = _units.interval(row.relative_performance_ci, 0, "%")
    return Cell(value=_units.percent(row.relative_performance), note=bounds)


def _loss(row: MethodRow) -> Cell:
    bounds = _units.interval(row.heldout_loss_ci, 3)
    return Cell(value=_units.number(row.heldout_loss, 3), note=bounds)


def _memory(row: MethodRow) -> Cell:
    shared = f"pass of {row.clients_in_pass} clients" if row.clients_in_pass > 1 else ""
    return Cell(value=_units.data(row.peak_memory_bytes), note=shared)


def _plain(
    say: Callable[[float | None], str], figure: Callable[[MethodRow], float | None]
) -> Callable[[MethodRow], Cell]:
    return lambda row: Cell(value=say(figure(row)))


_COLUMNS = tuple(
    _Column(group=group, head=head, cell=cell)
    for group, head, cell in [
        ("Quality", "Relative performance (full = 100%)", _relative),
        ("Quality", "Held-out loss", _loss),
        (
            "Training",
            "Trainable parameters",
            _plain(_units.count, lambda row: row.trainable_parameters),
        ),
        ("Training", "Peak memory", _memory),
        ("Training", "Time an epoch", _plain(_units.duration, lambda row: row.epoch_seconds)),
        ("Training", "Training time", _plain(_units.duration, lambda row: row.train_seconds)),
        (
            "Training",
            "Time to 95% of full\u2019s gain",
            _plain(_units.duration, lambda row: row.seconds_to_95),
        ),
        ("Training", "Cost", _plain(_units.money, lambda row: row.cost_usd)),
        ("Keeping and serving", "Size on disk", _plain(_units.data, lambda r: r.artifact_bytes)),
        (
            "Keeping and serving",
            "Tokens/s as trained",
            _plain(_units.whole, lambda row: row.generation_tokens_per_second),
        ),
        (
            "Keeping and serving",
            "Tokens/s merged",
            _plain(_units.whole, lambda row: row.merged_tokens_per_second),
        ),
        ("Side effect", "Forgetting", _plain(_units.change, lambda row: row.forgetting)),
    ]
)
