"""The qualitative table: a word for each method and aspect, with the figure it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from copydesk.app.report._methods import method_name
from copydesk.app.report._symbols import badge
from copydesk.app.report._table import Cell, Line, Table


class Judged(Protocol):
    """One cell, as whoever judged it gives it: the page does not know by which thresholds."""

    @property
    def method(self) -> str:
        """The method judged."""
        ...

    @property
    def aspect(self) -> str:
        """What is judged: `compute`, `memory`, `ceiling`."""
        ...

    @property
    def word(self) -> str:
        """`low`, `medium`, `high`; `unknown` where nothing was measured."""
        ...

    @property
    def said(self) -> str:
        """The figure behind the word, for people."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualities:
    """The cells of one comparison, and how the words were found."""

    judgements: Sequence[Judged]
    legend: Mapping[str, str]
    """Aspect -> what its figure is and where the words begin."""


def qualities_table(qualities: Qualities) -> Table:
    """Methods down, aspects across, both in the order that they come."""
    aspects = list(dict.fromkeys(judged.aspect for judged in qualities.judgements))
    methods = list(dict.fromkeys(judged.method for judged in qualities.judgements))
    cells = {(judged.method, judged.aspect): judged for judged in qualities.judgements}
    return Table(
        caption="The same in words",
        head="Method",
        columns=tuple(aspect.capitalize() for aspect in aspects),
        lines=tuple(
            Line(
                name=method_name(method),
                badge=badge(method),
                cells=tuple(_cell(cells.get((method, aspect))) for aspect in aspects),
            )
            for method in methods
        ),
    )


def _cell(judged: Judged | None) -> Cell:
    if judged is None or judged.word == "unknown":
        return Cell(value="not measured")
    return Cell(value=judged.word, note=judged.said)
