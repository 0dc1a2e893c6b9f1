"""Search results of every provider, in the shapes that they document, become one record."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from local_site import Site, serving

from copydesk.corpus.search import (
    SearchPage,
    SearchQuestion,
    SearchResult,
    read_exports,
    read_search_pages,
    search_live,
    write_search_pages,
)
from copydesk.corpus.search._exports import parse_export
from copydesk.errors import InvalidInput, Unreachable

RESULTS = (
    SearchResult(rank=1, url="https://a.example/1", title="Best kettles", snippet="We boiled 12."),
    SearchResult(rank=2, url="https://b.example/2", title="Kettle & co", snippet=""),
)
QUESTIONS = (
    SearchQuestion(question="Which kettle?", answer="A steel one.", url="https://c.example/3"),
)
RELATED = ("steel kettle", "quiet kettle")


def organic(url: str, title: str, snippet: str, rank: str | None = None) -> list[dict[str, Any]]:
    """The two results by a provider's names; the second lies first where there are ranks."""
    rows: list[dict[str, Any]] = [
        {url: RESULTS[0].url, title: "Best <strong>kettles</strong>", snippet: RESULTS[0].snippet},
        {url: RESULTS[1].url, title: "Kettle &amp; co"},
    ]
    if rank is None:
        return rows
    rows[0][rank], rows[1][rank] = 1, 2
    return rows[::-1]


def asked(link: str = "link", snippet: str = "snippet") -> list[dict[str, Any]]:
    return [{"question": "Which kettle?", snippet: "A steel one.", link: "https://c.example/3"}]


def queries() -> list[dict[str, str]]:
    return [{"query": words} for words in RELATED]


DATAFORSEO_ITEMS = [
    {"type": "ai_overview", "markdown": "x"},
    *({"type": "organic", **row} for row in organic("url", "title", "description", "rank_group")),
    {
        "type": "people_also_ask",
        "items": [
            {
                "title": "Which kettle?",
                "expanded_element": [
                    {
                        "type": "people_also_ask_expanded_element",
                        "description": "A steel one.",
                        "url": "https://c.example/3",
                    }
                ],
            }
        ],
    },
    {"type": "related_searches", "items": list(RELATED)},
]
# provider -> (export, locale, time, questions, related)
EXPORTS: dict[str, tuple[dict[str, Any], str | None, str | None, Any, Any]] = {
    "serpapi": (
        {
            "search_metadata": {"created_at": "2026-10-01 10:00:00 UTC"},
            "search_parameters": {"q": "kettle", "gl": "us", "hl": "en", "device": "mobile"},
            "organic_results": organic("link", "title", "snippet", "position"),
            "related_questions": asked(),
            "related_searches": queries(),
            "knowledge_graph": {"title": "Kettle"},
        },
        "en-US",
        "2026-10-01 10:00:00 UTC",
        QUESTIONS,
        RELATED,
    ),
    "serper": (
        {
            "searchParameters": {"q": "kettle", "gl": "us", "hl": "en", "type": "search"},
            "organic": organic("link", "title", "snippet", "position"),
            "peopleAlsoAsk": asked(),
            "relatedSearches": queries(),
        },
        "en-US",
        None,
        QUESTIONS,
        RELATED,
    ),
    "dataforseo": (
        {
            "tasks": [
                {
                    "result": [
                        {
                            "keyword": "kettle",
                            "location_code": 2840,
                            "language_code": "en",
                            "datetime": "2026-10-01 10:00:00 +00:00",
                            "items": DATAFORSEO_ITEMS,
                        }
                    ]
                }
            ]
        },
        "en",
        "2026-10-01 10:00:00 +00:00",
        QUESTIONS,
        RELATED,
    ),
    "brave": (
        {
            "query": {"original": "kettle", "country": "us", "language": "en"},
            "web": {"results": organic("url", "title", "description")},
            "faq": {"results": asked(link="url", snippet="answer")},
        },
        "en-US",
        None,
        QUESTIONS,
        (),
    ),
    "searxng": (
        {
            "query": "kettle",
            "number_of_results": 2,
            "results": organic("url", "title", "content"),
            "answers": ["text", {"answer": "x"}],
            "suggestions": list(RELATED),
            "unresponsive_engines": [["a", "timeout"]],
        },
        None,
        None,
        (),
        RELATED,
    ),
    "google-programmable-search": (
        {
            "kind": "customsearch#search",
            "queries": {"request": [{"searchTerms": "kettle", "hl": "en", "gl": "us"}]},
            "items": organic("link", "title", "snippet"),
        },
        "en-US",
        None,
        (),
        (),
    ),
    "bing": (
        {
            "queryContext": {"originalQuery": "kettle"},
            "webPages": {"value": organic("url", "name", "snippet")},
            "relatedSearches": {"value": [{"displayText": words} for words in RELATED]},
        },
        None,
        None,
        (),
        RELATED,
    ),
}


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("provider", EXPORTS)
def test_each_shape_becomes_the_same_record(provider: str, tmp_path: Path) -> None:
    export, locale, time, questions, related = EXPORTS[provider]
    file = write(tmp_path / "any.json", export)
    (found,) = read_exports([file])
    (page,) = found.pages
    assert found.rejected == ()
    assert (page.provider, page.query, page.locale, page.time) == (
        provider,
        "kettle",
        locale,
        time,
    )
    assert page.results == RESULTS
    assert page.questions == questions
    assert page.related == related
    assert page.source == f"{file}:1"


def test_a_file_may_hold_many(tmp_path: Path) -> None:
    exports = [export for export, *_ in EXPORTS.values()]
    listed = write(tmp_path / "list.json", exports)
    lines = write(tmp_path / "lines.jsonl", "\n".join(map(json.dumps, exports)))
    first, second = read_exports([listed, lines])
    assert [page.provider for page in first.pages] == list(EXPORTS)
    assert [page.results for page in second.pages] == [RESULTS] * len(EXPORTS)
    assert [page.source for page in second.pages] == [
        f"{lines}:{number}" for number in range(1, len(EXPORTS) + 1)
    ]


def test_wrong_records_are_refused_by_place_and_the_rest_is_kept(tmp_path: Path) -> None:
    rows: list[Any] = organic("link", "title", "snippet", "position")
    rows += [
        {"title": "No address", "position": 3},
        {"title": "Script", "link": "javascript:alert(1)", "position": 4},
        {"link": "https://a.example/5", "position": 5},
        "words",
        {"title": "Odd", "link": "https://a.example/6", "position": "sixth"},
    ]
    export = {
        "searchParameters": {"q": "kettle"},
        "organic": rows,
        "peopleAlsoAsk": [{"snippet": "no question"}],
        "relatedSearches": {"query": "no list"},
    }
    lines = [json.dumps(export), '{"broken": ', '{"colour": "red"}', "[1]"]
    file = write(tmp_path / "mixed.jsonl", "\n".join(lines))
    (found,) = read_exports([file])
    assert [page.results for page in found.pages] == [RESULTS]
    assert [(one.line, one.rule, one.reason.partition(":")[0]) for one in found.rejected] == [
        (1, "no-url", "organic[2]"),
        (1, "no-url", "organic[3]"),
        (1, "no-title", "organic[4]"),
        (1, "not-an-object", "organic[5]"),
        (1, "bad-rank", "organic[6]"),
        (1, "no-question", "peopleAlsoAsk[0]"),
        (2, "not-json", "The line is not JSON"),
        (3, "unknown-shape", "Its fields are those of no provider"),
        (4, "not-an-object", "The line is JSON but not an object `{...}`."),
    ]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "no search-result page"),
        ("{", "not JSON"),
        ('{"posts": []}', "no provider: posts"),
        ('{"searchParameters": {}, "organic": []}', "does not say what was searched for"),
        ("[" * 100_000, "cannot be read"),
        ('{"tasks": [{"status_message": "Not enough money."}]}', "Not enough money"),
    ],
)
def test_a_file_without_a_page_is_refused(tmp_path: Path, content: str, match: str) -> None:
    file = write(tmp_path / "wrong.json", content)
    with pytest.raises(InvalidInput, match=match) as caught:
        read_exports([file])
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_exports([tmp_path / "none.json"])


def test_pages_read_back_as_they_were_written(tmp_path: Path) -> None:
    pages = [
        page
        for name, (export, *_) in EXPORTS.items()
        for page in read_exports([write(tmp_path / f"{name}.json", export)])[0].pages
    ]
    write_search_pages(tmp_path / "pages.jsonl", pages)
    assert list(read_search_pages(tmp_path / "pages.jsonl")) == pages


KEYS = sorted(
    {
        *("tasks", "result", "items", "type", "keyword", "organic", "searchParameters", "q", "web"),
        *("organic_results", "search_parameters", "query", "results", "url", "link", "title"),
        *("webPages", "value", "people_also_ask", "expanded_element", "position", "rank_group"),
        *("peopleAlsoAsk", "question", "queries", "request", "searchTerms", "suggestions"),
    }
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["organic", "people_also_ask", "related_searches", "https://a.example/"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=30,
)


@settings(max_examples=80, deadline=None, database=None, derandomize=True)
@example([])
@example({"tasks": []})
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6) | JSON)
def test_any_json_gives_pages_or_rejections(value: object) -> None:
    pages, rejected = parse_export(Path("any.json"), json.dumps(value).encode())
    assert pages or rejected
    for page in pages:
        assert isinstance(page, SearchPage)
        assert page.query
        ranks = [one.rank for one in page.results]
        assert ranks == sorted(ranks)
        assert all(one.url.startswith(("http://", "https://")) for one in page.results)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_give_pages_or_rejections(content: bytes) -> None:
    pages, rejected = parse_export(Path("any.json"), content)
    assert pages or rejected


# Live, against a server on this machine

ENVIRONMENT = {
    "SERPAPI_API_KEY": "s3cret",
    "SERPER_API_KEY": "s3cret",
    "DATAFORSEO_LOGIN": "me",
    "DATAFORSEO_PASSWORD": "s3cret",
    "BRAVE_API_KEY": "s3cret",
}
PATHS = {
    "serpapi": "/?q=kettle&hl=en&gl=us&api_key=s3cret",
    "serper": "/",
    "dataforseo": "/",
    "brave": "/?q=kettle&search_lang=en&country=US",
    "searxng": "/search?q=kettle&format=json&language=en-US",
}
PROOFS = {
    "serper": ("x-api-key", "s3cret"),
    "dataforseo": ("authorization", "Basic bWU6czNjcmV0"),
    "brave": ("x-subscription-token", "s3cret"),
}


@pytest.mark.parametrize("provider", PATHS)
def test_a_live_answer_is_read_like_its_file(
    provider: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with serving(Site()) as site:
        site.add(PATHS[provider], json.dumps(EXPORTS[provider][0]), type="application/json")
        environment = {**ENVIRONMENT, "SEARXNG_URL": site.address}
        address = None if provider == "searxng" else f"{site.address}/"
        found = search_live("kettle", provider=provider, environment=environment, address=address)
    (page,) = found.pages
    assert page.results == RESULTS
    assert page.locale in ("en-US", "en")
    assert page.time
    (asked_once,) = site.log
    if provider in PROOFS:
        name, value = PROOFS[provider]
        assert asked_once.headers[name] == value
    assert "s3cret" not in caplog.text


def test_a_key_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidInput, match="SERPER_API_KEY must be set"):
        search_live("kettle", provider="serper", environment={})


@pytest.mark.parametrize(
    ("status", "error"), [(401, InvalidInput), (404, InvalidInput), (429, Unreachable)]
)
def test_a_refusal_does_not_tell_the_key(status: int, error: type[Exception]) -> None:
    with serving(Site()) as site:
        site.add(PATHS["serpapi"], "{}", status=status)
        with pytest.raises(error) as caught:
            search_live(
                "kettle",
                provider="serpapi",
                environment=ENVIRONMENT,
                address=f"{site.address}/",
            )
    assert str(status) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_server_that_is_not_there() -> None:
    with serving(Site()) as site:
        address = site.address
    with pytest.raises(Unreachable, match="searxng does not answer"):
        search_live("kettle", provider="searxng", environment={"SEARXNG_URL": address})
