"""Where the names of points stand, so that none covers another or a point."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from copydesk.app.report import _svg

HEIGHT = 15.0
"""Of a line of a drawing's text, in its units."""
_GAPS = (9.0, 16.0)
"""How far from its point a name stands, at first try and at second."""
_STEP_X, _STEP_Y = 8.0, 5.0
"""The lattice that is searched where no place beside the point is free."""
_LEADER_FROM = 13.0
"""Further from its point than this, a name is joined to it by a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An upright rectangle; `top` is less than `bottom`, as on a screen."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether they share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: "Box") -> bool:
        """Whether the other lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Its point that is nearest to the given one."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def around(x: float, y: float, room: float) -> Box:
    """The square round a point."""
    return Box(left=x - room, top=y - room, right=x + room, bottom=y + room)


def width_of(words: str, size: float = 13.0) -> float:
    """About how wide they are drawn: a little generous, since fonts differ."""
    return 0.6 * size * len(words) + 2


def place_labels(
    points: Sequence[tuple[float, float]],
    widths: Sequence[float],
    *,
    area: Box,
    taken: Sequence[Box] = (),
) -> list[Box]:
    """A place for each point's name inside `area`, beside the point where that is free.

    Names never cover one another while the area has room for them all. They keep off `taken` (the
    points, their error bars) while there is a place that does.
    """
    placed: list[Box] = []
    for (x, y), width in zip(points, widths, strict=True):
        near = [box for box in _beside(x, y, width) if area.holds(box)]
        far = sorted(_lattice(area, width), key=lambda box: math.dist((x, y), box.nearest(x, y)))
        free = [box for box in (*near, *far) if not any(box.meets(other) for other in placed)]
        clear = (box for box in free if not any(box.meets(other) for other in taken))
        placed.append(next(clear, (free or near or list(_beside(x, y, width)))[0]))
    return placed


def leader(x: float, y: float, box: Box, kind: str) -> list[Markup]:
    """A line from a point to its name, where the name stands too far off to be told."""
    end = box.nearest(x, y)
    return [_svg.line(x, y, *end, kind)] if math.dist((x, y), end) > _LEADER_FROM else []


def _beside(x: float, y: float, width: float) -> Iterator[Box]:
    """Right and left first, then the corners, then above and below; near before far."""
    half = HEIGHT / 2
    for gap in _GAPS:
        slant = gap * 0.7
        right, left, middle = x + gap, x - gap - width, x - width / 2
        above, below = y - slant - HEIGHT, y + slant
        for at_x, at_y in [
            (right, y - half), (left, y - half), (x + slant, above), (x + slant, below),
            (x - slant - width, above), (x - slant - width, below),
            (middle, y - gap - HEIGHT), (middle, y + gap),
        ]:  # fmt: skip
            yield Box(left=at_x, top=at_y, right=at_x + width, bottom=at_y + HEIGHT)


def _lattice(area: Box, width: float) -> Iterator[Box]:
    columns = max(0, math.floor((area.right - area.left - width) / _STEP_X) + 1)
    rows = max(0, math.floor((area.bottom - area.top - HEIGHT) / _STEP_Y) + 1)
    for row, column in itertools.product(range(rows), range(columns)):
        left, top = area.left + column * _STEP_X, area.top + row * _STEP_Y
        yield Box(left=left, top=top, right=left + width, bottom=top + HEIGHT)
