"""What was predicted against what was measured: can the plans for other machines be trusted?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from copydesk.app.report import _svg, _units
from copydesk.app.report._axes import LogScale, Unit, log_ticks, padded_ratio
from copydesk.app.report._labels import Box, around, leader, place_labels, width_of
from copydesk.app.report._methods import method_name, short_name
from copydesk.app.report._symbols import symbol
from copydesk.app.report._table import Table, method_line
from copydesk.records import Comparison, MethodRow

_WIDTH, _HEIGHT = 380.0, 330.0
_RADIUS = 5.5
_LEFT = 62.0
BAND = 0.10
"""How far a prediction may be off and still count as met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    name: str
    unit: Unit
    predicted: Callable[[MethodRow], float | None]
    measured: Callable[[MethodRow], float | None]
    said: Callable[[float | None], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    method: str
    predicted: float
    measured: float

    @property
    def met(self) -> bool:
        return abs(self.measured / self.predicted - 1) <= BAND


_KINDS = (
    _Kind(
        name="Peak memory",
        unit="data",
        predicted=lambda row: row.predicted_peak_memory_bytes,
        measured=lambda row: row.peak_memory_bytes,
        said=_units.data,
    ),
    _Kind(
        name="Time an epoch",
        unit="time",
        predicted=lambda row: row.predicted_epoch_seconds,
        measured=lambda row: row.epoch_seconds,
        said=_units.duration,
    ),
)


def predictions(comparison: Comparison, *, key: str) -> list[tuple[str, Markup]]:
    """A panel each for memory and time, with its name, where any row has both figures."""
    return [
        (kind.name, _panel(comparison, kind, f"{key}{n}"))
        for n, kind in enumerate(_KINDS, start=1)
        if _pairs(comparison.rows, kind)
    ]


def predictions_met(comparison: Comparison) -> str:
    """`2 of 3 memory figures and 1 of 3 times lie within 10%`, for the caption."""
    said: list[str] = []
    for kind, noun in zip(_KINDS, ("memory figure", "time"), strict=True):
        pairs = _pairs(comparison.rows, kind)
        if pairs:
            met = sum(pair.met for pair in pairs)
            said.append(f"{met} of {_units.plural(len(pairs), noun)}")
    return f"Within {BAND:.0%} of the prediction: {' and '.join(said)}."


def predictions_table(comparison: Comparison) -> Table:
    """The panels' figures, and by how much the measured one is above or below."""
    kinds = [kind for kind in _KINDS if _pairs(comparison.rows, kind)]
    found = {kind.name: {p.method: p for p in _pairs(comparison.rows, kind)} for kind in kinds}
    methods = [
        row.method for row in comparison.rows if any(row.method in at for at in found.values())
    ]
    return Table(
        caption="Predicted and measured",
        head="Method",
        columns=("Predicted", "Measured", "Difference") * len(kinds),
        groups=tuple((kind.name, 3) for kind in kinds),
        lines=tuple(
            method_line(
                method,
                [cell for kind in kinds for cell in _cells(found[kind.name].get(method), kind)],
            )
            for method in methods
        ),
    )


def _cells(pair: _Pair | None, kind: _Kind) -> list[str]:
    if pair is None:
        return [_units.NONE] * 3
    difference = _units.deviation(pair.predicted, pair.measured)
    return [kind.said(pair.predicted), kind.said(pair.measured), difference]


def _pairs(rows: Sequence[MethodRow], kind: _Kind) -> list[_Pair]:
    """Of methods that ran to their end: a prediction is of a whole run."""
    found: list[_Pair] = []
    for row in rows:
        predicted, measured = kind.predicted(row), kind.measured(row)
        if row.status == "done" and _real(predicted) and _real(measured):
            assert predicted is not None and measured is not None
            found.append(_Pair(method=row.method, predicted=predicted, measured=measured))
    return found


def _real(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _panel(comparison: Comparison, kind: _Kind, key: str) -> Markup:
    pairs = _pairs(comparison.rows, kind)
    low, high = padded_ratio(
        (value for pair in pairs for value in (pair.predicted, pair.measured)), room=1.25, least=4.0
    )
    x = LogScale(low=low, high=high, start=_LEFT, end=_WIDTH - 8)
    y = LogScale(low=low, high=high, start=_HEIGHT - 46, end=26)
    said = [
        f"{method_name(pair.method)}: predicted {kind.said(pair.predicted)}, measured"
        f" {kind.said(pair.measured)}, {_units.deviation(pair.predicted, pair.measured)}."
        for pair in pairs
    ]
    return _svg.picture(
        *_band(x, y),
        *_axes(x, y, kind.unit),
        *_marks(x, y, pairs),
        key=key,
        title=f"{kind.name}, predicted against measured, on {comparison.client}",
        description=" ".join(said),
        size=(_WIDTH, _HEIGHT),
        kind="chart",
    )


def _band(x: LogScale, y: LogScale) -> list[Markup]:
    """The identity line in the strip where a prediction counts as met, cut at the plot's edges."""
    low, high, over, under = x.low, x.high, 1 + BAND, 1 - BAND
    corners = [
        (low, low), (low, low * over), (high / over, high),
        (high, high), (high, high * under), (low / under, low),
    ]  # fmt: skip
    strip = " ".join(f"{x(right)},{y(up)}" for right, up in corners)
    return [
        _svg.tag("polygon", points=strip, class_="band"),
        _svg.line(x(low), y(low), x(high), y(high), "identity"),
    ]


def _axes(x: LogScale, y: LogScale, unit: Unit) -> list[Markup]:
    drawn = [
        _svg.text(0, 12, "Measured", "axis-name"),
        _svg.text(x.end, _HEIGHT - 4, "Predicted", "axis-name", "end"),
        _svg.line(x.start, y.start, x.end, y.start, "axis"),
        _svg.line(x.start, y.start, x.start, y.end, "axis"),
    ]
    for value, label in log_ticks(x, unit, 64.0):
        drawn.append(_svg.line(x(value), y.start, x(value), y.start + 5, "axis"))
        drawn.append(_svg.text(x(value), y.start + 19, label, "tick", "middle"))
    for value, label in log_ticks(y, unit, 30.0):
        drawn.append(_svg.line(x.start - 5, y(value), x.start, y(value), "axis"))
        drawn.append(_svg.text(x.start - 9, y(value) + 4, label, "tick", "end"))
    return drawn


def _marks(x: LogScale, y: LogScale, pairs: Sequence[_Pair]) -> list[Markup]:
    spots = [(x(pair.predicted), y(pair.measured)) for pair in pairs]
    words = [short_name(pair.method) for pair in pairs]
    boxes = place_labels(
        spots,
        [width_of(said) for said in words],
        area=Box(left=x.start + 2, top=18, right=x.end + 6, bottom=y.start - 2),
        taken=[around(*spot, _RADIUS + 1) for spot in spots],
    )
    drawn: list[Markup] = []
    for spot, box in zip(spots, boxes, strict=True):
        drawn += leader(*spot, box, "leader")
    for pair, spot, box in zip(pairs, spots, boxes, strict=True):
        drawn.append(symbol(pair.method, *spot, _RADIUS))
        drawn.append(_svg.text(box.left + 1, box.bottom - 3.5, short_name(pair.method), "value"))
    return drawn
