"""The loss curves of a comparison: how far each method got, and when."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from copydesk.app.report import _svg, _units
from copydesk.app.report._axes import Scale, padded, ticks, time_ticks
from copydesk.app.report._methods import is_tuned, method_class, method_name, short_name
from copydesk.app.report._symbols import badge, symbol
from copydesk.app.report._table import Cell, Line, Table
from copydesk.records import Comparison, LossPoint, MethodRow

Point = tuple[float, float]
_MOST_TRAIN_POINTS = 120
_MANY = 4
"""More curves than this, and the light ones are drawn lighter still."""
_LINE_HEIGHT = 17.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    method: str
    train: list[Point]
    """(seconds, loss) over the training pages, averaged over stretches where there are many."""
    heldout: list[Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Where the plot stands in the drawing, and its scales."""

    width: float
    height: float
    x: Scale
    y: Scale
    labelled: bool
    """Whether curves carry their names; else the page has a legend."""


def has_curves(comparison: Comparison) -> bool:
    """Whether there is anything to draw."""
    return bool(_curves(comparison.rows))


def curve_methods(comparison: Comparison) -> list[str]:
    """The methods that the drawing shows, for its legend."""
    untuned = [row.method for row in _references(comparison.rows)]
    return [curve.method for curve in _curves(comparison.rows)] + untuned


def loss_curves(comparison: Comparison, *, key: str, wide: bool) -> Markup:
    """Held-out loss bold, training loss light, over seconds of training.

    Args:
        comparison: one that `has_curves`.
        key: makes the drawing's ids the page's only ones.
        wide: for a desk's screen with names at the curves; else for a phone, without.
    """
    curves, references = _curves(comparison.rows), _references(comparison.rows)
    frame = _frame(curves, references, wide=wide)
    return _svg.picture(
        *_axes(frame, wide=wide),
        *(_reference(frame, row) for row in references),
        *(_svg.path(_pixels(frame, c.train), f"train {method_class(c.method)}") for c in curves),
        *(drawn for curve in curves for drawn in _heldout(frame, curve)),
        *(_names(frame, curves, references) if wide else []),
        key=key,
        title=f"Loss while training on {comparison.client}",
        description=_description(curves, references),
        size=(frame.width, frame.height),
        kind=f"chart {'wide' if wide else 'narrow'}{' many' if len(curves) > _MANY else ''}",
    )


def curve_table(comparison: Comparison) -> Table:
    """Held-out loss by training time, method by method."""
    lines = [
        Line(
            name=method_name(curve.method),
            badge=badge(curve.method),
            cells=(Cell(value=_units.duration(at)), Cell(value=_units.number(loss, 3))),
        )
        for curve in _curves(comparison.rows)
        for at, loss in curve.heldout
    ]
    return Table(
        caption="Held-out loss over time",
        head="Method",
        columns=("Training time", "Held-out loss"),
        lines=tuple(lines),
    )


def _curves(rows: Sequence[MethodRow]) -> list[_Curve]:
    made = [
        _Curve(
            method=row.method,
            train=_thinned([(p.seconds, p.train_loss) for p in _timed(row.curve)]),
            heldout=_known([(p.seconds, p.heldout_loss) for p in _timed(row.curve)]),
        )
        for row in rows
        if is_tuned(row)
    ]
    return [curve for curve in made if curve.train or curve.heldout]


def _references(rows: Sequence[MethodRow]) -> list[MethodRow]:
    return [
        row
        for row in rows
        if not is_tuned(row) and row.heldout_loss is not None
        if math.isfinite(row.heldout_loss)
    ]


def _timed(points: Sequence[LossPoint]) -> list[LossPoint]:
    known = [point for point in points if math.isfinite(point.seconds) and point.seconds >= 0]
    return sorted(known, key=lambda point: point.seconds)


def _known(points: Sequence[tuple[float, float | None]]) -> list[Point]:
    return [(at, loss) for at, loss in points if loss is not None and math.isfinite(loss)]


def _thinned(points: Sequence[tuple[float, float | None]]) -> list[Point]:
    known = _known(points)
    size = math.ceil(len(known) / _MOST_TRAIN_POINTS)
    if size <= 1:
        return known
    groups = [known[at : at + size] for at in range(0, len(known), size)]
    return [
        (sum(at for at, _ in group) / len(group), sum(loss for _, loss in group) / len(group))
        for group in groups
    ]


def _frame(curves: Sequence[_Curve], references: Sequence[MethodRow], *, wide: bool) -> _Frame:
    width, height = (680.0, 360.0) if wide else (360.0, 300.0)
    right = width - (132.0 if wide else 12.0)
    points = [point for curve in curves for point in (*curve.train, *curve.heldout)]
    losses = [loss for _, loss in points] + [row.heldout_loss or 0.0 for row in references]
    low, high = padded(losses, 0.06)
    last = max((at for at, _ in points), default=0.0) or 1.0
    return _Frame(
        width=width,
        height=height,
        x=Scale(low=0.0, high=last, start=44.0, end=right),
        y=Scale(low=low, high=high, start=height - 44.0, end=26.0),
        labelled=wide,
    )


def _axes(frame: _Frame, *, wide: bool) -> list[Markup]:
    x, y = frame.x, frame.y
    drawn = [_svg.text(0, 12, "Loss (lower is better)", "axis-name")]
    for value, label in ticks(y.low, y.high, 5):
        drawn.append(_svg.line(x.start, y(value), x.end, y(value), "grid"))
        drawn.append(_svg.text(x.start - 8, y(value) + 4, label, "tick", "end"))
    for value, label in time_ticks(x.high, 6 if wide else 4):
        drawn.append(_svg.line(x(value), y.start, x(value), y.start + 5, "axis"))
        drawn.append(_svg.text(x(value), y.start + 19, label, "tick", "middle"))
    drawn.append(_svg.line(x.start, y.start, x.end, y.start, "axis"))
    drawn.append(_svg.text(x.end, frame.height - 5, "Training time", "axis-name", "end"))
    return drawn


def _reference(frame: _Frame, row: MethodRow) -> Markup:
    level = frame.y(row.heldout_loss or 0.0)
    kind = f"reference {method_class(row.method)}"
    return _svg.line(frame.x.start, level, frame.x.end, level, kind)


def _heldout(frame: _Frame, curve: _Curve) -> list[Markup]:
    kind = method_class(curve.method)
    points = _pixels(frame, curve.heldout)
    marks = [symbol(curve.method, x, y, 4.0) for x, y in points]
    return [_svg.path(points, f"heldout {kind}"), *marks] if points else []


def _names(
    frame: _Frame, curves: Sequence[_Curve], references: Sequence[MethodRow]
) -> list[Markup]:
    """The names right of the plot, each at its line's end or as near as there is room."""
    ends = [(c.method, (c.heldout or c.train)[-1]) for c in curves]
    ends += [(row.method, (frame.x.high, row.heldout_loss or 0.0)) for row in references]
    wanted = sorted((frame.y(loss), method, frame.x(at)) for method, (at, loss) in ends)
    places = _apart([level for level, _, _ in wanted], _LINE_HEIGHT, frame.y.end, frame.y.start)
    drawn: list[Markup] = []
    left = frame.x.end + 14
    for (level, method, at), place in zip(wanted, places, strict=True):
        kind = method_class(method)
        drawn.append(_svg.path([(at + 5, level), (left - 4, place)], f"leader {kind}"))
        drawn.append(symbol(method, left + 5, place, 4.4))
        drawn.append(_svg.text(left + 15, place + 4.5, short_name(method), "plain"))
    return drawn


def _apart(levels: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Rising levels moved as little as needs be to stand `gap` apart."""
    placed: list[float] = []
    for level in levels:
        placed.append(max(level, placed[-1] + gap if placed else top))
    floor = bottom
    for at in range(len(placed) - 1, -1, -1):
        placed[at] = min(placed[at], floor)
        floor = placed[at] - gap
    return placed


def _pixels(frame: _Frame, points: Sequence[Point]) -> list[Point]:
    return [(frame.x(at), frame.y(loss)) for at, loss in points]


def _description(curves: Sequence[_Curve], references: Sequence[MethodRow]) -> str:
    said = ["Loss over training time; lower is better."]
    for curve in curves:
        if not curve.heldout:
            continue
        (_, before), (seconds, after) = curve.heldout[0], curve.heldout[-1]
        said.append(
            f"{method_name(curve.method)}: held-out loss from {_units.number(before, 3)} to"
            f" {_units.number(after, 3)} in {_units.duration(seconds)}."
        )
    said += [
        f"{method_name(row.method)}: {_units.number(row.heldout_loss, 3)}." for row in references
    ]
    return " ".join(said)
