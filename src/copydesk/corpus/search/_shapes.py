"""The shapes that providers export, told apart by their fields, and what each becomes.

Field names are those that the providers document; a field that is absent is as if empty, and one
that is not known is passed over: the raw export is kept beside what is read of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from copydesk.corpus.search._fields import (
    Flaws,
    Json,
    at,
    first_text,
    items,
    locale,
    question,
    result,
    text,
    texts,
    web_address,
)
from copydesk.corpus.search._records import Provider, SearchQuestion, SearchResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A page as a shape reads it, before it is known where it stands."""

    query: str
    locale: str | None
    time: str | None
    results: tuple[SearchResult, ...]
    questions: tuple[SearchQuestion, ...]
    related: tuple[str, ...]


Shape = Callable[[Json, Flaws], Iterator[Shaped]]


def provider_of(export: Json) -> Provider | None:
    """Whose shape an export has; None where it is nobody's that is known."""
    return next((name for name, is_it in _SIGNS.items() if is_it(export)), None)


def pages_of(export: Json, provider: Provider, flaws: Flaws) -> Iterator[Shaped]:
    """The pages of an export; what is wrong in it goes to `flaws`, by place."""
    yield from _SHAPES[provider](export, flaws)


def _is_dataforseo(export: Json) -> bool:
    return isinstance(export.get("tasks"), list) or (
        isinstance(export.get("items"), list) and "keyword" in export
    )


_SIGNS: Final[Mapping[Provider, Callable[[Json], bool]]] = {
    "serpapi": lambda e: isinstance(e.get("search_parameters"), dict) or "organic_results" in e,
    "serper": lambda e: isinstance(e.get("searchParameters"), dict) or "peopleAlsoAsk" in e,
    "dataforseo": _is_dataforseo,
    "brave": lambda e: isinstance(e.get("web"), dict) and isinstance(e.get("query"), dict),
    "bing": lambda e: isinstance(e.get("webPages"), dict),
    "google-programmable-search": lambda e: (
        isinstance(e.get("queries"), dict) or e.get("kind") == "customsearch#search"
    ),
    "searxng": lambda e: isinstance(e.get("query"), str) and isinstance(e.get("results"), list),
}


def _serpapi(export: Json, flaws: Flaws) -> Iterator[Shaped]:
    asked = at(export, "search_parameters") or {}
    yield Shaped(
        query=text(at(asked, "q")),
        locale=locale(at(asked, "hl"), at(asked, "gl")),
        time=text(at(export, "search_metadata", "created_at")) or None,
        results=_results(
            export.get("organic_results"),
            "organic_results",
            flaws,
            rank="position",
            url="link",
            title="title",
            snippet="snippet",
        ),
        questions=tuple(
            found
            for place, item in items(export.get("related_questions"), "related_questions", flaws)
            if (
                found := question(
                    {**item, "snippet": _serpapi_answer(item)}, place, flaws, "snippet"
                )
            )
        ),
        related=texts(export.get("related_searches"), "query"),
    )


def _serpapi_answer(item: Json) -> str:
    """An answer is a snippet, a list, or blocks of text."""
    blocks = item.get("text_blocks")
    spoken = " ".join(texts(blocks, "snippet", "text")) if isinstance(blocks, list) else ""
    return text(item.get("snippet")) or " ".join(texts(item.get("list"))) or spoken


def _serper(export: Json, flaws: Flaws) -> Iterator[Shaped]:
    asked = at(export, "searchParameters") or {}
    yield Shaped(
        query=text(at(asked, "q")),
        locale=locale(at(asked, "hl"), at(asked, "gl")),
        time=None,
        results=_results(
            export.get("organic"),
            "organic",
            flaws,
            rank="position",
            url="link",
            title="title",
            snippet="snippet",
        ),
        questions=_questions(export.get("peopleAlsoAsk"), "peopleAlsoAsk", flaws, "snippet"),
        related=texts(export.get("relatedSearches"), "query"),
    )


def _dataforseo(export: Json, flaws: Flaws) -> Iterator[Shaped]:
    if "tasks" not in export:
        yield _dataforseo_page(export, "", flaws)
        return
    for place, task in items(export.get("tasks"), "tasks", flaws):
        if task.get("result") is None:
            said = text(task.get("status_message")) or "no result"
            flaws.add(place, "no-result", f"The task has none: {said}.")
        for here, page in items(task.get("result"), f"{place}.result", flaws):
            yield _dataforseo_page(page, f"{here}.", flaws)


def _dataforseo_page(page: Json, place: str, flaws: Flaws) -> Shaped:
    results: list[SearchResult] = []
    questions: list[SearchQuestion] = []
    related: dict[str, None] = {}
    for here, item in items(page.get("items"), f"{place}items", flaws):
        kind = item.get("type")
        if kind == "organic":
            found = result(
                item,
                here,
                item.get("rank_group"),
                flaws,
                url="url",
                title="title",
                snippet="description",
            )
            if found:
                results.append(found)
        elif kind == "people_also_ask":
            for there, asked in items(item.get("items"), f"{here}.items", flaws):
                questions += _dataforseo_question(asked, there, flaws)
        elif kind in ("related_searches", "people_also_search"):
            related.update(dict.fromkeys(texts(item.get("items"), "title")))
    return Shaped(
        query=text(page.get("keyword")),
        locale=text(page.get("language_code")) or None,
        time=text(page.get("datetime")) or None,
        results=_by_rank(results),
        questions=tuple(questions),
        related=tuple(related),
    )


def _dataforseo_question(item: Json, place: str, flaws: Flaws) -> list[SearchQuestion]:
    """The answer's element has a description, or the references of an AI overview."""
    answer = at(item, "expanded_element", 0) or {}
    reference = at(answer, "references", 0) or {}
    asked = text(item.get("title"))
    if not asked:
        flaws.add(place, "no-question", "It has no `title`.")
        return []
    return [
        SearchQuestion(
            question=asked,
            answer=first_text(answer, "description", "featured_title")
            or first_text(reference, "text", "title"),
            url=web_address(at(answer, "url") or at(reference, "url")),
        )
    ]


def _brave(export: Json, flaws: Flaws) -> Iterator[Shaped]:
    yield Shaped(
        query=text(at(export, "query", "original")),
        locale=locale(at(export, "query", "language"), at(export, "query", "country")),
        time=None,
        results=_results(
            at(export, "web", "results"),
            "web.results",
            flaws,
            url="url",
            title="title",
            snippet="description",
        ),
        questions=_questions(at(export, "faq", "results"), "faq.results", flaws, "answer"),
        related=texts(at(export, "query", "related_queries"), "query"),
    )


def _searxng(export: Json, flaws: Flaws) -> Iterator[Shaped]:
    yield Shaped(
        query=text(export.get("query")),
        locale=None,
        time=None,
        results=_results(
            export.get("results"), "results", flaws, url="url", title="title", snippet="content"
        ),
        questions=(),
        related=texts(export.get("suggestions")),
    )


def _google(export: Json, flaws: Flaws) -> Iterator[Shaped]:
    asked = at(export, "queries", "request", 0) or {}
    yield Shaped(
        query=text(at(asked, "searchTerms")),
        locale=locale(at(asked, "hl"), at(asked, "gl")),
        time=None,
        results=_results(
            export.get("items"), "items", flaws, url="link", title="title", snippet="snippet"
        ),
        questions=(),
        related=(),
    )


def _bing(export: Json, flaws: Flaws) -> Iterator[Shaped]:
    yield Shaped(
        query=text(at(export, "queryContext", "originalQuery")),
        locale=None,
        time=None,
        results=_results(
            at(export, "webPages", "value"),
            "webPages.value",
            flaws,
            url="url",
            title="name",
            snippet="snippet",
        ),
        questions=(),
        related=texts(at(export, "relatedSearches", "value"), "displayText", "text"),
    )


_SHAPES: Final[Mapping[Provider, Shape]] = {
    "serpapi": _serpapi,
    "serper": _serper,
    "dataforseo": _dataforseo,
    "brave": _brave,
    "searxng": _searxng,
    "google-programmable-search": _google,
    "bing": _bing,
}


def _results(
    value: object,
    place: str,
    flaws: Flaws,
    *,
    url: str,
    title: str,
    snippet: str,
    rank: str | None = None,
) -> tuple[SearchResult, ...]:
    """The results of a list; without a field for the rank, they stand by rank."""
    found: list[SearchResult] = []
    for number, (here, item) in enumerate(items(value, place, flaws), start=1):
        written = item.get(rank) if rank else None
        one = result(
            item,
            here,
            number if written is None else written,
            flaws,
            url=url,
            title=title,
            snippet=snippet,
        )
        if one:
            found.append(one)
    return _by_rank(found)


def _questions(
    value: object, place: str, flaws: Flaws, *answers: str
) -> tuple[SearchQuestion, ...]:
    listed = (question(item, here, flaws, *answers) for here, item in items(value, place, flaws))
    return tuple(one for one in listed if one)


def _by_rank(results: list[SearchResult]) -> tuple[SearchResult, ...]:
    return tuple(sorted(results, key=lambda one: one.rank))
