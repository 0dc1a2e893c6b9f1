"""What tuning did to all else: bars for general text, other clients' pages and instructions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from copydesk.app.report import _svg, _units
from copydesk.app.report._axes import Scale
from copydesk.app.report._methods import is_tuned, method_class, method_name, short_name
from copydesk.app.report._symbols import symbol
from copydesk.app.report._table import Table, method_line
from copydesk.records import Comparison, MethodRow

_WIDTH = 400.0
_LEFT, _RIGHT = 130.0, 312.0
_TOP, _ROW, _FOOT = 4.0, 24.0, 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    name: str
    head: str
    """Of its column in the table."""
    value: Callable[[MethodRow], float | None]
    said: Callable[[float | None], str]
    below: str
    """What a bar to the left means."""
    above: str


_MEASURES = (
    _Measure(
        name="Loss on general text",
        head="General text (nats a token)",
        value=lambda row: row.forgetting,
        said=_units.change,
        below="better",
        above="forgot",
    ),
    _Measure(
        name="Loss on other clients\u2019 pages",
        head="Other clients\u2019 pages (nats a token)",
        value=lambda row: row.others_change,
        said=_units.change,
        below="better",
        above="worse",
    ),
    _Measure(
        name="Instructions followed",
        head="Instructions followed",
        value=lambda row: row.instruction_change,
        said=_units.points,
        below="fewer",
        above="more",
    ),
)


def forgetting_bars(comparison: Comparison, *, key: str) -> list[tuple[str, Markup]]:
    """A panel, with its name, for each measure that any tuned method has; none, an empty list."""
    return [
        (measure.name, _panel(comparison, measure, f"{key}{n}"))
        for n, measure in enumerate(_MEASURES, start=1)
        if _known(comparison.rows, measure)
    ]


def forgetting_table(comparison: Comparison) -> Table:
    """The panels' figures."""
    measures = [measure for measure in _MEASURES if _known(comparison.rows, measure)]
    return Table(
        caption="Change against the untuned base",
        head="Method",
        columns=tuple(measure.head for measure in measures),
        lines=tuple(
            method_line(row.method, [measure.said(measure.value(row)) for measure in measures])
            for row in comparison.rows
            if is_tuned(row) and any(_has(row, measure) for measure in measures)
        ),
    )


def _has(row: MethodRow, measure: _Measure) -> bool:
    value = measure.value(row)
    return value is not None and math.isfinite(value)


def _known(rows: Sequence[MethodRow], measure: _Measure) -> list[tuple[MethodRow, float]]:
    return [
        (row, measure.value(row) or 0.0) for row in rows if is_tuned(row) and _has(row, measure)
    ]


def _panel(comparison: Comparison, measure: _Measure, key: str) -> Markup:
    known = _known(comparison.rows, measure)
    bottom = _TOP + _ROW * len(known)
    low, high = (least(0.0, *(value for _, value in known)) for least in (min, max))
    # A bar's end is round: without some room, one that says zero would fill the panel.
    room = 0.02 * (high - low) or 1.0
    scale = Scale(low=low - room, high=high + room, start=_LEFT, end=_RIGHT)
    zero = scale(0.0)
    drawn: list[Markup] = []
    for n, (row, value) in enumerate(known):
        level = _TOP + _ROW * n + _ROW / 2
        near, far = sorted((zero, scale(value)))
        drawn += [
            symbol(row.method, 6, level, 5),
            _svg.text(18, level + 4.5, short_name(row.method), "plain"),
            _svg.tag(
                "rect", x=near, y=level - 7, width=round(max(far - near, 1.0), 1), height=14,
                class_=f"bar {method_class(row.method)}",
            ),
            _svg.text(_WIDTH, level + 4.5, measure.said(value), "value", "end"),
        ]  # fmt: skip
    drawn.append(_svg.line(zero, _TOP, zero, bottom, "axis"))
    if low < 0:
        drawn.append(_svg.text(zero - 6, bottom + 15, f"\u2190 {measure.below}", "tick", "end"))
    if high > 0:
        drawn.append(_svg.text(zero + 6, bottom + 15, f"{measure.above} \u2192", "tick"))
    said = [f"{method_name(row.method)}: {measure.said(value)}." for row, value in known]
    return _svg.picture(
        *drawn,
        key=key,
        title=f"{measure.name} after tuning on {comparison.client}, against the untuned base",
        description=" ".join(said),
        size=(_WIDTH, bottom + _FOOT),
        kind="chart",
    )
