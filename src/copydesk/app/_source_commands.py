"""Commands about search results."""

from pathlib import Path
from typing import Annotated

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace
from copydesk.app._output import emit_json, out
from copydesk.desk import ImportedSearches

_SHOWN_REJECTIONS = 20

commands = typer.Typer()
serp_app = typer.Typer(
    help="Search results: for briefs and coverage, never training.", no_args_is_help=True
)
commands.add_typer(serp_app, name="serp")


@serp_app.command("import")
def serp_import(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Keep exports of search results, of whichever provider; their shape is recognised.

    SerpApi, Serper.dev, DataForSEO, Brave Search, SearXNG, and old files of Google Programmable
    Search and Bing.

    Example: copydesk serp import kettles.json
    """
    with desk.open_workspace(workspace) as opened:
        _show(opened.import_searches(files), as_json=as_json)


@serp_app.command("search")
def serp_search(
    queries: Annotated[list[str], typer.Argument(metavar="QUERY...")],
    provider: Annotated[
        str, typer.Option(help="searxng, serpapi, serper, dataforseo or brave.")
    ] = "searxng",
    language: Annotated[str, typer.Option(help="Of the results, as in en.")] = "en",
    country: Annotated[str, typer.Option(help="Of the searcher, as in us.")] = "us",
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Ask a search provider and keep its results.

    Its key is read from the environment: SEARXNG_URL, SERPAPI_API_KEY, SERPER_API_KEY,
    DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD, or BRAVE_API_KEY.

    Example: copydesk serp search "best kettle" --provider searxng
    """
    with desk.open_workspace(workspace) as opened:
        found = opened.search(queries, provider=provider, language=language, country=country)
        _show(found, as_json=as_json)


def _show(found: ImportedSearches, *, as_json: bool) -> None:
    if as_json:
        pages = [
            {
                "provider": page.provider,
                "query": page.query,
                "locale": page.locale,
                "time": page.time,
                "results": len(page.results),
                "questions": len(page.questions),
                "related": len(page.related),
                "source": page.source,
            }
            for page in found.pages
        ]
        emit_json({"path": found.path, "pages": pages, "rejected": found.rejected})
        return
    for page in found.pages:
        out.print(
            f"{page.query}  ({page.provider})  {len(page.results)} results, "
            f"{len(page.questions)} questions, {len(page.related)} related searches",
            markup=False,
            soft_wrap=True,
        )
    for item in found.rejected[:_SHOWN_REJECTIONS]:
        place = item.source if item.line is None else f"{item.source}:{item.line}"
        out.print(f"  {place}  {item.rule}: {item.reason}", markup=False, soft_wrap=True)
    if len(found.rejected) > _SHOWN_REJECTIONS:
        out.print(f"  and {len(found.rejected) - _SHOWN_REJECTIONS} more")
    out.print(f"Kept in {found.path}", markup=False, soft_wrap=True)
