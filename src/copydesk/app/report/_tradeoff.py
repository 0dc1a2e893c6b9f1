"""Quality against cost: which methods are worth their price, with the Pareto front drawn."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from copydesk.app.report import _svg, _units
from copydesk.app.report._axes import LogScale, Scale, Unit, log_ticks, padded, padded_ratio, ticks
from copydesk.app.report._labels import Box, around, leader, place_labels, width_of
from copydesk.app.report._methods import is_tuned, method_class, method_name, short_name
from copydesk.app.report._symbols import symbol
from copydesk.app.report._table import Table, method_line
from copydesk.records import Comparison, MethodRow

_RADIUS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    method: str
    price: float
    """Seconds or dollars."""
    gain: float
    """Relative performance in percent."""
    bounds: tuple[float, float] | None
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    x: LogScale
    y: Scale


def has_tradeoff(comparison: Comparison) -> bool:
    """Whether any method has both a gain and a price."""
    return bool(_points(comparison))


def tradeoff(comparison: Comparison, *, key: str, wide: bool) -> Markup:
    """Relative performance with its interval over training time or cost, the price on a log scale.

    Args:
        comparison: one that `has_tradeoff`.
        key: makes the drawing's ids the page's only ones.
        wide: for a desk's screen; else for a phone.
    """
    points, free = _points(comparison), _free(comparison)
    # More names need more room, and so do the bars that stand beside it.
    width, height = (680.0, 380.0 if len(points) < 5 else 480.0) if wide else (360.0, 340.0)
    frame = _frame(points, free, width, height)
    steps = _staircase(frame, points, free)
    return _svg.picture(
        *_axes(frame, price_unit(comparison), width, height),
        *([_svg.path(steps, "front")] if steps else []),
        *(_level(frame, row) for row in free),
        *(drawn for point in points for drawn in _drawn(frame, point)),
        *_names(frame, points, free, figures=wide),
        key=key,
        title=f"Quality against cost on {comparison.client}",
        description=_description(comparison, points, free),
        size=(width, height),
        kind="chart wide" if wide else "chart narrow",
    )


def tradeoff_table(comparison: Comparison) -> Table:
    """The drawing's figures, and who is on the front."""
    points, free = _points(comparison), _free(comparison)
    money = price_unit(comparison) == "money"
    front = _on_front(points, free)
    untrained = [
        method_line(row.method, [_units.NONE, _units.percent(row.relative_performance), "", ""])
        for row in free
    ]
    return Table(
        caption="Quality against cost",
        head="Method",
        columns=(
            "Cost" if money else "Training time", "Relative performance", "95% interval",
            "On the Pareto front",
        ),
        lines=(
            *untrained,
            *(
                method_line(
                    point.method,
                    [
                        _said(point.price, money=money),
                        _units.percent(point.gain),
                        _units.interval(point.bounds, 0, "%"),
                        "yes" if n in front else "no",
                    ],
                )
                for n, point in enumerate(points)
            ),
        ),
    )  # fmt: skip


def price_unit(comparison: Comparison) -> Unit:
    """Dollars where every trained method has a cost, else seconds of training."""
    trained = [row for row in comparison.rows if is_tuned(row) and row.train_seconds is not None]
    return "money" if trained and all(row.cost_usd for row in trained) else "time"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indexes of the (price, gain) that no other beats: none is as good for less, or better.

    By rising price. Of equals all are kept.
    """
    kept = [
        n
        for n, (price, gain) in enumerate(points)
        if not any(
            other_price <= price
            and other_gain >= gain
            and (other_price, other_gain) != (price, gain)
            for other_price, other_gain in points
        )
    ]
    return sorted(kept, key=lambda n: points[n])


def _points(comparison: Comparison) -> list[_Point]:
    money = price_unit(comparison) == "money"
    found: list[_Point] = []
    for row in comparison.rows:
        price, gain = row.cost_usd if money else row.train_seconds, row.relative_performance
        if not is_tuned(row) or price is None or gain is None:
            continue
        if math.isfinite(gain) and math.isfinite(price) and price > 0:
            found.append(
                _Point(
                    method=row.method,
                    price=price,
                    gain=gain,
                    bounds=_bounds(row),
                    cut=row.status != "done",
                )
            )
    return found


def _free(comparison: Comparison) -> list[MethodRow]:
    """The baselines: what is had without training."""
    return [
        row
        for row in comparison.rows
        if not is_tuned(row) and row.relative_performance is not None
        if math.isfinite(row.relative_performance)
    ]


def _bounds(row: MethodRow) -> tuple[float, float] | None:
    bounds = row.relative_performance_ci
    return bounds if bounds is not None and all(map(math.isfinite, bounds)) else None


def _on_front(points: Sequence[_Point], free: Sequence[MethodRow]) -> list[int]:
    """Indexes of `points`, by rising price. A method that a baseline beats is on no front."""
    at_no_price = [(0.0, row.relative_performance or 0.0) for row in free]
    front = pareto_front([*((p.price, p.gain) for p in points), *at_no_price])
    return [n for n in front if n < len(points)]


def _frame(
    points: Sequence[_Point], free: Sequence[MethodRow], width: float, height: float
) -> _Frame:
    gains = [0.0, 100.0, *(row.relative_performance or 0.0 for row in free)]
    gains += [value for p in points for value in (p.gain, *(p.bounds or ()))]
    low, high = padded(gains, 0.07)
    left, right = padded_ratio((p.price for p in points), room=1.5, least=6.0)
    return _Frame(
        x=LogScale(low=left, high=right, start=46.0, end=width - 8.0),
        y=Scale(low=low, high=high, start=height - 46.0, end=26.0),
    )


def _axes(frame: _Frame, unit: Unit, width: float, height: float) -> list[Markup]:
    x, y = frame.x, frame.y
    drawn = [_svg.text(0, 12, "Relative performance (full = 100%)", "axis-name")]
    for value, label in ticks(y.low, y.high, 6):
        drawn.append(_svg.line(x.start, y(value), x.end, y(value), "grid"))
        drawn.append(_svg.text(x.start - 8, y(value) + 4, f"{label}%", "tick", "end"))
    for value, label in log_ticks(x, unit, 72.0):
        drawn.append(_svg.line(x(value), y.start, x(value), y.start + 5, "axis"))
        drawn.append(_svg.text(x(value), y.start + 19, label, "tick", "middle"))
    drawn.append(_svg.line(x.start, y.start, x.end, y.start, "axis"))
    name = "Cost of training" if unit == "money" else "Training time"
    drawn.append(_svg.text(width - 8, height - 4, f"{name}, log scale", "axis-name", "end"))
    return drawn


def _staircase(
    frame: _Frame, points: Sequence[_Point], free: Sequence[MethodRow]
) -> list[tuple[float, float]]:
    """Corners of the front: the best that a given price buys."""
    steps: list[tuple[float, float]] = []
    for n in _on_front(points, free):
        at = (frame.x(points[n].price), frame.y(points[n].gain))
        steps += [(at[0], steps[-1][1]), at] if steps else [at]
    return [*steps, (frame.x.end, steps[-1][1])] if steps else []


def _level(frame: _Frame, row: MethodRow) -> Markup:
    level = frame.y(row.relative_performance or 0.0)
    kind = f"reference {method_class(row.method)}"
    return _svg.line(frame.x.start, level, frame.x.end, level, kind)


def _drawn(frame: _Frame, point: _Point) -> list[Markup]:
    x, kind = frame.x(point.price), f"whisker {method_class(point.method)}"
    drawn: list[Markup] = []
    if point.bounds is not None:
        low, high = (frame.y(bound) for bound in point.bounds)
        drawn.append(_svg.line(x, low, x, high, kind))
        drawn += [_svg.line(x - 4, y, x + 4, y, kind) for y in (low, high)]
    return [*drawn, symbol(point.method, x, frame.y(point.gain), _RADIUS)]


def _names(
    frame: _Frame, points: Sequence[_Point], free: Sequence[MethodRow], *, figures: bool
) -> list[Markup]:
    area = Box(left=frame.x.start + 2, top=18.0, right=frame.x.end + 6, bottom=frame.y.start - 2)
    spots = [(frame.x(p.price), frame.y(p.gain)) for p in points]
    words = [
        short_name(p.method)
        + (f" {_units.percent(p.gain)}" if figures else "")
        + (" (cut)" if p.cut else "")
        for p in points
    ]
    ends = [(frame.x.start, frame.y(row.relative_performance or 0.0)) for row in free]
    words += [short_name(row.method) for row in free]
    taken = [around(x, y, _RADIUS + 1) for x, y in spots]
    steps = _staircase(frame, points, free)
    for (x1, y1), (x2, y2) in itertools.pairwise(steps):
        taken.append(Box(left=x1 - 1, top=min(y1, y2) - 1, right=x2 + 1, bottom=max(y1, y2) + 1))
    for point, (x, _) in zip(points, spots, strict=True):
        if point.bounds is not None:
            low, high = (frame.y(bound) for bound in point.bounds)
            taken.append(Box(left=x - 4, top=high, right=x + 4, bottom=low))
    boxes = place_labels(
        [*spots, *ends], [width_of(said) for said in words], area=area, taken=taken
    )
    drawn: list[Markup] = []
    for (x, y), box in zip(spots, boxes, strict=False):
        drawn += leader(x, y, box, "leader")
    drawn += [
        _svg.text(box.left + 1, box.bottom - 3.5, said, "value")
        for said, box in zip(words, boxes, strict=True)
    ]
    return drawn


def _said(price: float, *, money: bool) -> str:
    return _units.money(price) if money else _units.duration(price)


def _description(
    comparison: Comparison, points: Sequence[_Point], free: Sequence[MethodRow]
) -> str:
    money = price_unit(comparison) == "money"
    said = [
        f"{method_name(p.method)}: {_units.percent(p.gain)} of full fine-tuning's gain for"
        f" {_said(p.price, money=money)}."
        for p in points
    ]
    said += [
        f"{method_name(row.method)}: {_units.percent(row.relative_performance)}, without training."
        for row in free
    ]
    front = ", then ".join(method_name(points[n].method) for n in _on_front(points, free))
    return " ".join([*said, f"Pareto front, cheapest first: {front or 'none'}."])
