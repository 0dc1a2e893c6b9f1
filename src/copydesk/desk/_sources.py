"""Where pages come from besides files: sites, which are crawled, and search results, kept aside."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from copydesk.corpus import Curated, Gathered, Source
from copydesk.desk._place import Place
from copydesk.errors import InvalidInput
from copydesk.records import Document, Listener, Material, Rejection
from copydesk.store import building, held, json_digest, open_artifact

if TYPE_CHECKING:
    from copydesk.corpus.search import Export, LiveProvider, SearchPage
    from copydesk.corpus.web import WebSettings

SEARCHES: Final = "searches"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSearches:
    """What `serp import` or `serp search` kept."""

    path: Path
    """The artifact: `pages.jsonl`, and the raw exports beside it."""
    pages: tuple["SearchPage", ...]
    rejected: tuple[Rejection, ...]


def web_settings(
    *, max_pages: int | None = None, allow_private: bool = False
) -> "WebSettings | None":
    """Limits of a crawl; None for the usual ones, for which nothing need be imported."""
    if max_pages is None and not allow_private:
        return None
    from copydesk.corpus.web import WebSettings

    usual = WebSettings(allow_private=allow_private)
    return usual if max_pages is None else replace(usual, max_pages=max_pages)


def gather_sources(
    place: Place,
    client: str,
    sources: Sequence[str | os.PathLike[str]],
    *,
    web: "WebSettings | None",
    listener: Listener,
) -> list[Source]:
    """Files as they are; addresses as what was crawled there, kept in the client's folder.

    Raises:
        InvalidInput, Unreachable: nothing could be read of a site.
        InUse: another process crawls it.
    """
    gathered: list[Source] = []
    for source in sources:
        if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
            gathered.append(_crawled(place, client, source, web, listener))
        else:
            gathered.append(Path(source).expanduser())
    return gathered


def _crawled(
    place: Place, client: str, address: str, web: "WebSettings | None", listener: Listener
) -> Gathered:
    # It takes a while to import, and needs the network's libraries.
    from copydesk.corpus.web import WebSettings, crawl

    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    with held(place.locks, f"site-{key}", doing=f"reads {address[:100]}", forget=True):
        return crawl(
            address,
            folder=place.client_folder(client) / "sites" / key,
            settings=web or WebSettings(),
            listener=listener,
        )


def with_right(found: Curated, right: str | None) -> Curated:
    """The same pages, those without a recorded right to train under `right`."""
    if right is None:
        return found

    def mark(items: Iterable[Material]) -> tuple[Material, ...]:
        return tuple(
            replace(item, right=item.right or right) if isinstance(item, Document) else item
            for item in items
        )

    return replace(found, train=mark(found.train), heldout=mark(found.heldout))


def import_searches(place: Place, files: Sequence[Path]) -> ImportedSearches:
    """Read files of search results and keep them in the workspace.

    Raises:
        InvalidInput: no file was given, or one holds no search-result page; nothing is kept.
    """
    from copydesk.corpus.search import read_exports

    if not files:
        raise InvalidInput("No file was given", todo="Name at least one export.")
    return _keep(place, read_exports(files))


def search(
    place: Place,
    queries: Sequence[str],
    *,
    provider: str,
    language: str,
    country: str,
    address: str | None,
) -> ImportedSearches:
    """Ask a provider for the results of queries and keep them in the workspace.

    Raises:
        InvalidInput: the provider is not known, or its key is missing or refused.
        Unreachable: it does not answer.
    """
    from copydesk.corpus.search import LIVE_PROVIDERS, search_live

    known: dict[str, LiveProvider] = {name: name for name in LIVE_PROVIDERS}
    chosen = known.get(provider)
    if chosen is None:
        raise InvalidInput(
            f"There is no provider {provider!r}", todo=f"Use {', '.join(LIVE_PROVIDERS)}."
        )
    if not queries:
        raise InvalidInput("No query was given", todo="Say what to search for.")
    answers = [
        search_live(
            query,
            provider=chosen,
            environment=os.environ,
            language=language,
            country=country,
            address=address,
        )
        for query in queries
    ]
    return _keep(place, answers)


def search_pages(place: Place) -> tuple["SearchPage", ...]:
    """All search-result pages of the workspace, oldest import first; the same page once.

    Raises:
        Damaged: a file is not what was written.
    """
    from copydesk.corpus.search import read_search_pages

    found: dict[tuple[str, str], SearchPage] = {}
    for folder in _imports(place):
        open_artifact(folder)
        for page in read_search_pages(folder / "pages.jsonl"):
            found.setdefault((page.sha256, page.query), page)
    return tuple(found.values())


def _imports(place: Place) -> list[Path]:
    folders = (place.root / "artifacts" / SEARCHES).glob("[0-9]*")
    return sorted(folders, key=lambda folder: int(folder.name))


def _keep(place: Place, exports: Sequence["Export"]) -> ImportedSearches:
    """An artifact of the workspace, not of a client: it names none and outlives them."""
    from copydesk.corpus.search import write_search_pages

    pages = tuple(page for export in exports for page in export.pages)
    rejected = tuple(one for export in exports for one in export.rejected)
    inputs = {"exports": json_digest(sorted(page.sha256 for page in pages))}
    with held(place.locks, SEARCHES, doing="imports search results"):
        last = _imports(place)
        number = int(last[-1].name) + 1 if last else 1
        target = place.root / "artifacts" / SEARCHES / str(number)
        keys = place.catalogue.keys
        with building(target, kind=SEARCHES, inputs=inputs, keys=keys) as artifact:
            write_search_pages(artifact.path / "pages.jsonl", pages)
            for index, export in enumerate(exports, start=1):
                (artifact.path / f"raw-{index}{export.path.suffix}").write_bytes(export.content)
            artifact.facts.update(
                pages=len(pages),
                results=sum(len(page.results) for page in pages),
                files=[export.path.name for export in exports],
                use="briefs, topic coverage and plagiarism indexes; not training",
            )
    return ImportedSearches(path=target, pages=pages, rejected=rejected)
