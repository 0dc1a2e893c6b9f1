"""How wide a title is on a results page."""

from typing import Final

# Advance widths of Arial in thousandths of the size, from the font's own metrics (Adobe's Helvetica
# AFM has the same); characters that are not here count as a wide lower-case letter.
_WIDTHS: Final = {
    **dict.fromkeys("ijl'|", 222),
    **dict.fromkeys(" !,./:;ft[]I\\", 278),
    **dict.fromkeys('"', 355),
    **dict.fromkeys("()r-`", 333),
    **dict.fromkeys("*", 389),
    **dict.fromkeys("ckJsvxyz", 500),
    **dict.fromkeys("abdeghnopqu0123456789#$?L_", 556),
    **dict.fromkeys("+<=>~", 584),
    **dict.fromkeys("FTZ", 611),
    **dict.fromkeys("&ABEKPSVXY", 667),
    **dict.fromkeys("CDHNRUw", 722),
    **dict.fromkeys("GOQ", 778),
    **dict.fromkeys("mM", 833),
    **dict.fromkeys("%", 889),
    **dict.fromkeys("W", 944),
    **dict.fromkeys("@", 1015),
}
_OTHER: Final = 556
_WIDE: Final = 1000
_SIZE: Final = 20
"""Pixels: what results pages on a desk's screen set titles in."""


def title_pixels(title: str) -> float:
    """Width of a title in Arial at 20 pixels."""
    return sum(_width(char) for char in title) * _SIZE / 1000


def _width(char: str) -> int:
    return _WIDTHS.get(char, _WIDE if ord(char) > 0x2E7F else _OTHER)
