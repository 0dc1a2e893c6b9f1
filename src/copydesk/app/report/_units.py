"""Numbers as people read them. A missing or endless number is a dash."""

import datetime
import math

NONE = "\u2014"
_MINUS = "\u2212"


def count(value: float | None) -> str:
    """`4.9 M`, `135 M`, `1.2 B`."""
    return _scaled(value, 1000, ["", " K", " M", " B", " T"])


def data(size: float | None) -> str:
    """Bytes in decimal units: `1.2 GB`, `19 MB`."""
    return _scaled(size, 1000, [" B", " KB", " MB", " GB", " TB"])


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `3 min 20 s`, `1 h 5 min`."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(*divmod(whole, 60), "min", "s")
    return _two(*divmod(round(seconds / 60), 60), "h", "min")


def number(value: float | None, digits: int) -> str:
    """A plain number with thousands separated: `2.921`, `1,280`."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:,.{digits}f}".replace("-", _MINUS)


def whole(value: float | None) -> str:
    """A number without a fraction, or with two figures where it is small: `282`, `3.4`."""
    small = value is not None and 0 < abs(value) < 9.95
    return number(value, 1 if small else 0)


def change(value: float | None, digits: int = 3) -> str:
    """A difference with its sign: `+0.012`, `0.000`, a true minus."""
    text = number(value, digits)
    if value is None or text == NONE or float(f"{value:.{digits}f}") == 0:
        return text.replace(_MINUS, "")
    return text if value < 0 else f"+{text}"


def interval(bounds: tuple[float, float] | None, digits: int, suffix: str = "") -> str:
    """`2.80 to 3.04`; empty where there is none."""
    if bounds is None or not all(math.isfinite(bound) for bound in bounds):
        return ""
    low, high = (number(bound, digits) for bound in bounds)
    return f"{low} to {high}{suffix}"


def percent(value: float | None) -> str:
    """`93%`."""
    text = number(value, 0)
    return text if text == NONE else f"{text}%"


def money(value: float | None) -> str:
    """`$0.0042`, `$0.41`, `$12`: two figures below ten cents, cents below ten dollars."""
    if value is None or not math.isfinite(value):
        return NONE
    if 0 < value < 0.1:
        digits = 1 - math.floor(math.log10(value))
        return f"${value:.{digits}f}"
    return f"${number(value, 2 if value < 10 else 0)}"


def points(share: float | None) -> str:
    """A difference of shares in points of a hundred: `+4 points`, a true minus."""
    if share is None or not math.isfinite(share):
        return NONE
    return f"{change(100 * share, 0)} point{'' if abs(round(100 * share)) == 1 else 's'}"


def deviation(predicted: float, measured: float) -> str:
    """What was measured against what was predicted: `+7%`, a true minus."""
    return f"{change(100 * (measured / predicted - 1), 0)}%"


def rate(value: float | None) -> str:
    """A learning rate: `0.002`, `5e-05`."""
    return NONE if value is None or not math.isfinite(value) else f"{value:g}"


def moment(iso: str) -> str:
    """`24 November 2026, 11:05 UTC` from an ISO time; anything else stays as it is."""
    try:
        time = datetime.datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = " UTC" if time.utcoffset() == datetime.timedelta(0) else ""
    return f"{time.day} {time:%B %Y, %H:%M}{zone}"


def plural(amount: int, noun: str) -> str:
    """`1 page`, `12 pages`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def _scaled(value: float | None, step: int, units: list[str]) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    size = float(value)
    for unit in units:
        # 999.6 would be rounded to four figures.
        if abs(size) < step - 0.5 or unit == units[-1]:
            digits = 1 if abs(size) < 9.95 and unit not in (units[0],) else 0
            return f"{size:,.{digits}f}{unit}".replace(".0 ", " ")
        size /= step
    return NONE


def _two(large: int, small: int, large_unit: str, small_unit: str) -> str:
    tail = f" {small} {small_unit}" if small else ""
    return f"{large} {large_unit}{tail}"
