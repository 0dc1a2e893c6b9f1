"""A mark of its own for each method, so that nobody needs to tell colours apart."""

import math
from typing import Final

from markupsafe import Markup

from copydesk.app.report import _svg
from copydesk.app.report._methods import method_class

_CORNERS: Final[dict[str, tuple[int, float]]] = {
    "full": (4, 45),
    "qlora": (4, 0),
    "dora": (3, 0),
    "prefix": (3, 180),
    "prompt": (5, 0),
    "bottleneck": (6, 90),
}
"""Method -> corners of its polygon, and by how many degrees it is turned."""
_CROSSES: Final = {"base": 0.0, "prompted": 45.0}
_SWELL: Final = {3: 1.35, 4: 1.2, 5: 1.15, 6: 1.1}
"""Polygons of one radius look smaller the fewer corners they have."""


def symbol(method: str, x: float, y: float, radius: float) -> Markup:
    """The method's mark in its colour: a disc for LoRA, a square for full and so on."""
    kind = f"mark {method_class(method)}"
    if method in _CORNERS:
        corners, turned = _CORNERS[method]
        steps = [turned + 360 * n / corners for n in range(corners)]
        return _polygon(x, y, [(radius * _SWELL[corners], angle) for angle in steps], kind)
    if method in _CROSSES:
        turned = _CROSSES[method]
        arm = math.degrees(math.atan(1 / 3))
        outer, inner = radius * 1.2, radius * 0.5
        ends: list[tuple[float, float]] = []
        for n in range(4):
            at = turned + 90 * n
            ends += [(outer, at - arm), (outer, at + arm), (inner, at + 45)]
        return _polygon(x, y, ends, kind)
    if method == "lora":
        return _svg.tag("circle", cx=x, cy=y, r=radius, class_=kind)
    return _svg.tag("circle", cx=x, cy=y, r=radius * 0.75, class_=f"{kind} hollow")


def badge(method: str) -> Markup:
    """The mark as a small drawing for tables and legends; it says nothing to a screen reader."""
    return _svg.tag(
        "svg", symbol(method, 6, 6, 4.4), viewBox="0 0 12 12", class_="badge", aria_hidden="true"
    )


def _polygon(x: float, y: float, ends: list[tuple[float, float]], kind: str) -> Markup:
    """Corners at (distance, degrees clockwise from straight up)."""
    points = " ".join(
        f"{x + far * math.sin(math.radians(at)):.2f},{y - far * math.cos(math.radians(at)):.2f}"
        for far, at in ends
    )
    return _svg.tag("polygon", points=points, class_=kind)
