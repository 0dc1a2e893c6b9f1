"""Tables as values: what the page's one table macro draws."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from copydesk.app.report import _units
from copydesk.app.report._methods import method_name
from copydesk.app.report._symbols import badge


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure, and what stands small below it."""

    value: str
    note: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a figure."""
        return self.value != _units.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row: what it is about, and its cells."""

    name: str
    badge: Markup
    cells: tuple[Cell, ...]
    tag: str = ""
    """A word of praise beside the name."""
    notes: tuple[str, ...] = ()
    problem: str = ""
    """Why figures are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A caption, the columns' heads, the rows."""

    caption: str
    head: str
    """Of the first column, which names the rows."""
    columns: tuple[str, ...]
    groups: tuple[tuple[str, int], ...] = ()
    """Heads over heads: each with the number of columns below it; together, all columns."""
    lines: tuple[Line, ...]


def method_line(method: str, cells: Sequence[str]) -> Line:
    """A row that is about a method, with its mark."""
    return Line(
        name=method_name(method),
        badge=badge(method),
        cells=tuple(Cell(value=value) for value in cells),
    )
