"""SVG tags as safe markup: every attribute and text is escaped."""

from markupsafe import Markup, escape


def tag(name: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """`<name attribute="value">children</name>`; `stroke_width` becomes `stroke-width`."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
    )
    inner = Markup("").join(children)
    return Markup(f"<{name}{given}>{inner}</{name}>")


def picture(
    *children: Markup, key: str, title: str, description: str, size: tuple[float, float], kind: str
) -> Markup:
    """A whole drawing, named and described for screen readers.

    Args:
        children: what is drawn.
        key: makes its ids the page's only ones.
        title: its name.
        description: what it shows, with the figures.
        size: width and height of the drawing's own units.
        kind: its style class.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-desc"),
        *children,
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        class_=kind,
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> Markup:
    """Words at a place; `anchor` is start, middle or end."""
    return tag("text", words, x=x, y=y, class_=kind, text_anchor=anchor)


def path(points: list[tuple[float, float]], kind: str) -> Markup:
    """A line through the points."""
    steps = " ".join(f"{'L' if n else 'M'}{x:g} {y:g}" for n, (x, y) in enumerate(points))
    return tag("path", d=steps, class_=kind)


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
