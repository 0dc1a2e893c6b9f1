"""Where a version comes from, as the page shows it: a list of steps and a table of pages."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from copydesk.app.report import _units
from copydesk.app.report._methods import method_name
from copydesk.app.report._table import Cell, Line, Table
from copydesk.records import Lineage, LineagePage

_SHOWN = 200
_DIGEST = 12
"""Letters of a digest that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageView:
    """What the template reads."""

    key: str
    version: str
    steps: tuple[tuple[str, str], ...]
    """Name and value, from the version back to the rights."""
    pages: Table
    more: str
    """How many pages are not shown; empty where all are."""


def view_lineage(lineage: Lineage, *, key: str) -> LineageView:
    """All that the page says of it; `key` makes ids the page's only ones."""
    shown = lineage.pages[:_SHOWN]
    left = len(lineage.pages) - len(shown)
    return LineageView(
        key=key,
        version=lineage.version,
        steps=_steps(lineage),
        pages=Table(
            caption=f"Pages that {lineage.version} was trained on",
            head="Page",
            columns=("Date", "Right to train others", "Source", "Fetched"),
            lines=tuple(map(_line, shown)),
        ),
        more=f"and {left:,} more; copydesk lineage {lineage.version} --json lists all"
        if left
        else "",
    )


def _steps(lineage: Lineage) -> tuple[tuple[str, str], ...]:
    base = f"{lineage.base.name} {_short(lineage.base.digest)}"
    if lineage.base.parent:
        rights = _counted(lineage.base.rights)
        base += f", tuned from {lineage.base.parent} on pages by right: {rights}"
    if lineage.base.withdrawn:
        base += ", which learned from pages that were withdrawn since"
    gates = lineage.evaluated or "never asked"
    dataset = lineage.dataset or "not kept any more"
    return (
        ("Version", f"{lineage.version} {_short(lineage.digest)}, made {lineage.made}"),
        ("Gates", f"no: {gates}" if gates not in {"passed", "never asked"} else gates),
        ("Run", f"{_short(lineage.run)}, {method_name(lineage.method)}"),
        ("Base", base),
        (
            "Dataset",
            f"{dataset} {_short(lineage.dataset_digest)}: "
            f"{_units.plural(len(lineage.pages), 'page')} trained on, {lineage.heldout:,} held out",
        ),
        ("Rights", _counted(lineage.rights) or _units.NONE),
        *(
            (("Withdrawn since", _units.plural(lineage.withdrawn, "page")),)
            if lineage.withdrawn
            else ()
        ),
    )


def _line(page: LineagePage) -> Line:
    # Of a file its name alone: where it lies on the machine is nobody's business.
    source = page.url or page.source.replace("\\", "/").rpartition("/")[2]
    right = (page.right or "client only") + (", withdrawn since" if page.withdrawn else "")
    cells = (page.date, right, source, page.retrieved)
    return Line(
        name=page.title or page.id,
        badge=Markup(""),
        cells=tuple(Cell(value=value or _units.NONE) for value in cells),
    )


def _counted(rights: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {right}" for right, count in rights.items())


def _short(digest: str) -> str:
    return digest[:_DIGEST]
