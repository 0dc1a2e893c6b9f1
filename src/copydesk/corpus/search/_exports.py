"""Files of search results in; pages of one shape, and rejections by file and place, out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from copydesk.corpus._pages import shown
from copydesk.corpus._readers import Raw, UnusableFileError, json_records, jsonl_records
from copydesk.corpus.search._fields import Flaws
from copydesk.corpus.search._records import SearchPage
from copydesk.corpus.search._shapes import pages_of, provider_of
from copydesk.errors import Damaged, InvalidInput
from copydesk.records import Rejection

_LARGEST: Final = 64 * 1024 * 1024
_PAGE: Final = TypeAdapter(SearchPage)
KNOWN: Final = (
    "SerpApi, Serper.dev, DataForSEO, Brave Search, SearXNG, Google Programmable Search or Bing"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One file that was read."""

    path: Path
    content: bytes
    pages: tuple[SearchPage, ...]
    rejected: tuple[Rejection, ...]


def read_exports(paths: Sequence[Path]) -> tuple[Export, ...]:
    """Read files of search results, each of any shape that is known.

    A file holds one response as JSON, a list of them, or one a line.

    Raises:
        InvalidInput: a file cannot be read as a whole, or holds no search-result page at all.
    """
    return tuple(map(_read_export, dict.fromkeys(paths)))


def _read_export(path: Path) -> Export:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InvalidInput(
            f"The file cannot be read: {error.strerror or error}",
            where=shown(path),
            todo="Check the path.",
        ) from error
    if len(content) > _LARGEST:
        raise InvalidInput(
            f"The file is larger than {_LARGEST:,} bytes",
            where=shown(path),
            todo="Split it into parts.",
        )
    pages, rejected = parse_export(path, content)
    if not pages:
        first = rejected[0] if rejected else None
        said = f": {first.reason.rstrip('.')}" if first else ""
        place = first.source if first else shown(path)
        raise InvalidInput(
            f"There is no search-result page in it{said}",
            where=place if first is None or first.line is None else f"{place}:{first.line}",
            todo=f"Use an export of {KNOWN}.",
        )
    return Export(path=path, content=content, pages=tuple(pages), rejected=tuple(rejected))


def parse_export(path: Path, content: bytes) -> tuple[list[SearchPage], list[Rejection]]:
    """The pages of one file's bytes, and what was left out of it, by place."""
    by_line = path.suffix.lower() in (".jsonl", ".ndjson")
    pages: list[SearchPage] = []
    rejected: list[Rejection] = []
    try:
        for record in (jsonl_records if by_line else json_records)(path, content):
            if isinstance(record, Rejection):
                rejected.append(record)
            else:
                _read_record(record, pages, rejected)
    except UnusableFileError as problem:
        rejected.append(
            Rejection(source=shown(path), line=None, rule=problem.rule, reason=f"{problem.what}.")
        )
    if not pages and not rejected:
        rejected.append(
            Rejection(source=shown(path), line=None, rule="no-page", reason="It holds no page.")
        )
    return pages, rejected


def _read_record(record: Raw, pages: list[SearchPage], rejected: list[Rejection]) -> None:
    place = record.place
    provider = provider_of(record.fields)
    if provider is None:
        names = ", ".join(list(map(str, record.fields))[:8])[:200]
        rejected.append(
            place.reject("unknown-shape", f"Its fields are those of no provider: {names}.")
        )
        return
    flaws = Flaws()
    for shaped in pages_of(record.fields, provider, flaws):
        if not shaped.query:
            flaws.add("query", "no-query", "A page does not say what was searched for.")
            continue
        pages.append(
            SearchPage(
                provider=provider,
                query=shaped.query,
                locale=shaped.locale,
                time=shaped.time,
                results=shaped.results,
                questions=shaped.questions,
                related=shaped.related,
                source=place.source,
                sha256=place.digest,
            )
        )
    for here, rule, reason in flaws.found:
        rejected.append(place.reject(rule, f"{here}: {reason}"))


def write_search_pages(path: Path, pages: Iterable[SearchPage]) -> None:
    """One page a line, keys sorted."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for page in pages:
            file.write(json.dumps(asdict(page), sort_keys=True, ensure_ascii=False) + "\n")


def read_search_pages(path: Path) -> Iterator[SearchPage]:
    """What `write_search_pages` wrote.

    Raises:
        Damaged: the file is not there, or a line is no page.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise Damaged(
            f"The file cannot be read: {error.strerror or error}",
            where=str(path),
            todo="Import the search results again.",
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            yield _PAGE.validate_json(line)
        except ValidationError as error:
            raise Damaged(
                f"Line {number} is not a page of search results",
                where=str(path),
                todo="Import the search results again.",
            ) from error
