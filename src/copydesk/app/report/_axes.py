"""Scales and ticks."""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from copydesk.app.report import _units

Unit = Literal["time", "money", "data"]
"""What an axis measures: seconds, dollars or bytes."""
_SAID: Final[dict[Unit, Callable[[float], str]]] = {
    "time": _units.duration,
    "money": _units.money,
    "data": _units.data,
}
_LOG_TIMES = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1800, 2700, 3600,
    7200, 10800, 18000, 36000, 86400, 172800, 432000, 864000, 1728000, 4320000, 8640000,
)  # fmt: skip
_TIME_STEPS = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
    3600, 7200, 14400, 21600, 43200, 86400,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A straight map from values to pixels."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`."""

    def __call__(self, value: float) -> float:
        """The value's pixel, rounded to what a screen can show."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogScale:
    """A map from values above zero to pixels on which equal ratios are equally long."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`."""

    def __call__(self, value: float) -> float:
        """The value's pixel, rounded to what a screen can show."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)


def padded_ratio(values: Iterable[float], *, room: float, least: float) -> tuple[float, float]:
    """The range of values above zero, widened by the factor `room` on both sides.

    Its ends are a factor of `least` apart or more, so that a few per cent do not look like much.
    """
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    low, high = min(known) / room, max(known) * room
    short = max(1.0, math.sqrt(least / (high / low)))
    return low / short, high * short


def log_ticks(scale: LogScale, unit: Unit, apart: float) -> list[tuple[float, str]]:
    """Round values on the scale, with labels, at least `apart` pixels from one another.

    Args:
        scale: the axis.
        unit: what is measured: it decides what is round, and how it is said.
        apart: pixels that a label needs.
    """
    low, high = scale.low, scale.high
    sets = (
        [_LOG_TIMES[at::every] for every in range(1, len(_LOG_TIMES) + 1) for at in range(every)]
        if unit == "time"
        else _decades(low, high)
    )
    fitting: list[tuple[float, ...]] = [()]
    for round_values in sets:
        inside = tuple(value for value in round_values if low <= value <= high)
        places = [scale(value) for value in inside]
        if all(abs(b - a) >= apart for a, b in itertools.pairwise(places)):
            fitting.append(inside)
    return [(value, _SAID[unit](value)) for value in max(fitting, key=len)]


def _decades(low: float, high: float) -> list[list[float]]:
    """Round values of all powers of ten between, in several densities."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    made = [
        [float(f"{factor}e{power}") for power in powers for factor in factors]
        for factors in ((1, 2, 5), (1, 3), (1, 2, 3, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))
    ]
    return [[float(f"1e{power}") for power in powers[::every]] for every in (4, 2, 1)] + made


def padded(values: Iterable[float], share: float) -> tuple[float, float]:
    """The values' range with some room on both sides; never empty."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = (high - low) * share or max(abs(high), 1.0) * 0.05
    return low - room, high + room


def ticks(low: float, high: float, about: int) -> list[tuple[float, str]]:
    """About so many round values from `low` to `high`, with their labels."""
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    digits = max(0, -math.floor(math.log10(step)) + (1 if round(step / power, 3) == 2.5 else 0))
    first, last = math.ceil(low / step), math.floor(high / step)
    return [(n * step, _units.number(n * step, digits)) for n in range(first, last + 1)]


def time_ticks(seconds: float, about: int) -> list[tuple[float, str]]:
    """Round times from zero to `seconds`, in one unit."""
    days = 86400.0
    raw = seconds / max(1, about)
    step = next((step for step in _TIME_STEPS if step >= raw), math.ceil(raw / days) * days)
    divisor, unit = (1, "s") if step < 30 or seconds < 90 else (60, "min")
    divisor, unit = (3600, "h") if step >= 1800 and seconds >= 7200 else (divisor, unit)
    count = math.floor(seconds / step + 1e-9)
    later = [(n * step, f"{n * step / divisor:g} {unit}") for n in range(1, count + 1)]
    return [(0.0, "0"), *later]
