"""Comparisons and drafts into the one HTML page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from copydesk.app.report import _units
from copydesk.app.report._comparison import ComparisonView, view_comparison
from copydesk.app.report._draft import DraftView, view_draft
from copydesk.app.report._lineage import LineageView, view_lineage
from copydesk.app.report._qualities import Qualities
from copydesk.records import Comparison, Draft, Lineage


@dataclass(slots=True, kw_only=True)
class _Client:
    name: str
    key: str
    comparisons: list[ComparisonView]
    drafts: list[DraftView]
    lineages: list[LineageView]


def render_report(
    *,
    title: str,
    comparisons: Sequence[Comparison],
    drafts: Sequence[Draft],
    lineages: Sequence[Lineage] = (),
    generated: str,
    judge: Callable[[Comparison], Qualities] | None = None,
) -> str:
    """One HTML file that needs nothing beside it: no network, no scripts.

    Args:
        title: the page's heading.
        comparisons: tuning methods measured, one a client or several.
        drafts: drafts with their findings; a client need not have a comparison.
        lineages: of the versions that wrote them.
        generated: when the report is made, an ISO time or any text.
        judge: gives the cells of a comparison's qualitative table; without it there is none.
    """
    clients: dict[str, _Client] = {}
    for name in [item.client for item in (*comparisons, *drafts, *lineages)]:
        made = _Client(
            name=name, key=f"c{len(clients) + 1}", comparisons=[], drafts=[], lineages=[]
        )
        clients.setdefault(name, made)
    for n, comparison in enumerate(comparisons, start=1):
        qualities = judge(comparison) if judge else None
        view = view_comparison(comparison, qualities, key=f"m{n}")
        clients[comparison.client].comparisons.append(view)
    for n, draft in enumerate(drafts, start=1):
        clients[draft.client].drafts.append(view_draft(draft, key=f"d{n}"))
    for n, lineage in enumerate(lineages, start=1):
        clients[lineage.client].lineages.append(view_lineage(lineage, key=f"l{n}"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title, clients=list(clients.values()), generated=_units.moment(generated)
    )
    # Lone halves of surrogate pairs cannot be written as UTF-8.
    return page.encode("utf-8", "replace").decode("utf-8")
