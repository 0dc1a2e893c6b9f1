"""Scales and ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from copydesk.app.report import _units

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
