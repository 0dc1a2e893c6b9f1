"""Held-out loss of each method as a dot with its interval: which differences are more than luck."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from copydesk.app.report import _svg, _units
from copydesk.app.report._axes import Scale, padded, ticks
from copydesk.app.report._methods import method_class, method_name, short_name
from copydesk.app.report._symbols import symbol
from copydesk.app.report._table import Table, method_line
from copydesk.records import Comparison, MethodRow

_WIDTH = 400.0
_ROW = 50.0
_TOP = 8.0
_FOOT = 46.0
_LONGEST_NAME = 42
"""Letters that leave room for the figure beside them."""


def has_losses(comparison: Comparison) -> bool:
    """Whether there is anything to draw."""
    return bool(_measured(comparison.rows))


def heldout_intervals(comparison: Comparison, *, key: str) -> Markup:
    """One line a method: its name and loss above, dot and 95% interval below.

    Args:
        comparison: one that `has_losses`.
        key: makes the drawing's ids the page's only ones.
    """
    rows = _measured(comparison.rows)
    bottom = _TOP + _ROW * len(rows)
    values = [value for row in rows for value in (_loss(row), *(_bounds(row) or ()))]
    low, high = padded(values, 0.08)
    scale = Scale(low=low, high=high, start=10.0, end=_WIDTH - 10.0)
    base = next((row for row in rows if row.method == "base"), None)
    drawn = _axis(scale, bottom)
    if base is not None:
        at = scale(_loss(base))
        drawn.append(_svg.line(at, _TOP + _ROW - 14, at, bottom, "reference m-base"))
    for n, row in enumerate(rows):
        drawn += _line(scale, row, _TOP + _ROW * n)
    return _svg.picture(
        *drawn,
        key=key,
        title=f"Loss on {comparison.client}'s held-out pages",
        description=_description(rows),
        size=(_WIDTH, bottom + _FOOT),
        kind="chart",
    )


def intervals_table(comparison: Comparison) -> Table:
    """The drawing's figures."""
    return Table(
        caption="Held-out loss at the end",
        head="Method",
        columns=("Held-out loss", "95% interval"),
        lines=tuple(
            method_line(
                row.method, [_units.number(_loss(row), 3), _units.interval(_bounds(row), 3)]
            )
            for row in _measured(comparison.rows)
        ),
    )


def _measured(rows: Sequence[MethodRow]) -> list[MethodRow]:
    return [row for row in rows if row.heldout_loss is not None and math.isfinite(_loss(row))]


def _loss(row: MethodRow) -> float:
    assert row.heldout_loss is not None
    return row.heldout_loss


def _name(method: str) -> str:
    name = method_name(method)
    return name if len(name) <= _LONGEST_NAME else short_name(method)


def _bounds(row: MethodRow) -> tuple[float, float] | None:
    bounds = row.heldout_loss_ci
    return bounds if bounds is not None and all(map(math.isfinite, bounds)) else None


def _axis(scale: Scale, bottom: float) -> list[Markup]:
    drawn = [_svg.line(scale.start, bottom, scale.end, bottom, "axis")]
    for value, label in ticks(scale.low, scale.high, 5):
        drawn.append(_svg.line(scale(value), _TOP, scale(value), bottom, "grid"))
        drawn.append(_svg.text(scale(value), bottom + 18, label, "tick", "middle"))
    name = "Held-out loss (further left is better)"
    drawn.append(_svg.text(scale.end, bottom + 39, name, "axis-name", "end"))
    return drawn


def _line(scale: Scale, row: MethodRow, top: float) -> list[Markup]:
    kind = method_class(row.method)
    level = top + 31
    drawn = [
        _svg.text(0, top + 15, _name(row.method), "plain"),
        _svg.text(_WIDTH, top + 15, _units.number(_loss(row), 3), "value", "end"),
    ]
    bounds = _bounds(row)
    if bounds is not None:
        low, high = (scale(bound) for bound in bounds)
        drawn.append(_svg.line(low, level, high, level, f"whisker {kind}"))
        drawn += [_svg.line(x, level - 4, x, level + 4, f"whisker {kind}") for x in (low, high)]
    drawn.append(symbol(row.method, scale(_loss(row)), level, 5.5))
    return drawn


def _description(rows: Sequence[MethodRow]) -> str:
    said: list[str] = []
    for row in rows:
        bounds = _units.interval(_bounds(row), 3)
        tail = f" (95% interval {bounds})" if bounds else ""
        said.append(f"{method_name(row.method)}: {_units.number(_loss(row), 3)}{tail}.")
    return " ".join(said)
