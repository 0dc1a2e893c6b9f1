"""What a search-result page says, in one shape whoever exported it."""

from dataclasses import dataclass
from typing import Literal

Provider = Literal[
    "serpapi", "serper", "dataforseo", "brave", "searxng", "google-programmable-search", "bing"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One organic result."""

    rank: int
    """From 1, among the organic results."""
    url: str
    title: str
    snippet: str
    """Plain text; empty where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuestion:
    """A question that people also ask."""

    question: str
    answer: str
    """As the page showed it, plain text; empty where it showed none."""
    url: str | None
    """Where the answer was taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage:
    """One page of results for one query."""

    provider: Provider
    query: str
    locale: str | None
    """Language and country as they were asked for, e.g. `en-US`, `en` or `US`."""
    time: str | None
    """When it was fetched, as the export spells it."""
    results: tuple[SearchResult, ...]
    """By rank."""
    questions: tuple[SearchQuestion, ...]
    related: tuple[str, ...]
    """Related searches, in order."""
    source: str
    """File, and line or item, or the provider, that it came from."""
    sha256: str
    """SHA-256 of the raw bytes of the page's export."""
