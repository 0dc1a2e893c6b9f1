"""One query to a search provider, where its key is in the environment."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode

import httpx2

from copydesk.corpus._fields import UnfitError
from copydesk.corpus._unpack import Unpacker
from copydesk.corpus.search._exports import Export, parse_export
from copydesk.errors import InvalidInput, Unreachable
from copydesk.store import json_bytes

LiveProvider = Literal["searxng", "serpapi", "serper", "dataforseo", "brave"]
LIVE_PROVIDERS: Final[Mapping[LiveProvider, tuple[str, ...]]] = {
    "searxng": ("SEARXNG_URL",),
    "serpapi": ("SERPAPI_API_KEY",),
    "serper": ("SERPER_API_KEY",),
    "dataforseo": ("DATAFORSEO_LOGIN", "DATAFORSEO_PASSWORD"),
    "brave": ("BRAVE_API_KEY",),
}
"""Provider -> the variables of the environment that it needs."""
_ADDRESSES: Final[Mapping[LiveProvider, str]] = {
    "serpapi": "https://serpapi.com/search.json",
    "serper": "https://google.serper.dev/search",
    "dataforseo": "https://api.dataforseo.com/v3/serp/google/organic/live/advanced",
    "brave": "https://api.search.brave.com/res/v1/web/search",
}
# ISO 3166 numbers; DataForSEO's location of a country is 2000 more.
_COUNTRY_NUMBERS: Final[Mapping[str, int]] = {
    **{"at": 40, "au": 36, "be": 56, "br": 76, "ca": 124, "ch": 756, "de": 276, "dk": 208},
    **{"es": 724, "fi": 246, "fr": 250, "gb": 826, "ie": 372, "in": 356, "it": 380, "jp": 392},
    **{"mx": 484, "nl": 528, "no": 578, "nz": 554, "pl": 616, "pt": 620, "se": 752, "us": 840},
}
_SECONDS: Final = 30.0
_LARGEST: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A request for one query."""

    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


def search_live(
    query: str,
    *,
    provider: LiveProvider,
    environment: Mapping[str, str],
    language: str = "en",
    country: str = "us",
    address: str | None = None,
) -> Export:
    """Ask a provider for one query's results.

    Args:
        query: what is searched for.
        provider: whom to ask.
        environment: holds the provider's keys, by the names in `LIVE_PROVIDERS`. They stand in no
            message and no log.
        language: ISO 639 code.
        country: ISO 3166 code.
        address: of the provider, where it is not the usual one.

    Raises:
        InvalidInput: a key is missing or was refused, or the answer is no search-result page.
        Unreachable: there was no answer.
    """
    missing = [name for name in LIVE_PROVIDERS[provider] if not environment.get(name)]
    if missing:
        raise InvalidInput(
            f"To ask {provider}, {' and '.join(missing)} must be set in the environment",
            todo="Set it, or import a file of results with: copydesk serp import FILE",
        )
    if not query.strip():
        raise InvalidInput("The query is empty", todo="Say what to search for.")
    keys = [environment[name] for name in LIVE_PROVIDERS[provider]]
    target = address or _ADDRESSES.get(provider) or keys[0]
    content = _ask(provider, _question(provider, target, query, keys, language, country))
    pages, rejected = parse_export(Path(f"{provider}.json"), content)
    if not pages:
        said = rejected[0].reason if rejected else "it is empty"
        raise InvalidInput(
            f"What {provider} answered is no search-result page: {said.removesuffix('.')}",
            todo="SearXNG must allow `format: json` in its settings."
            if provider == "searxng"
            else None,
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    asked = "-".join((language.lower(), country.upper()))
    filled = tuple(
        replace(page, time=page.time or now, locale=page.locale or asked) for page in pages
    )
    return Export(
        path=Path(f"{provider}.json"), content=content, pages=filled, rejected=tuple(rejected)
    )


def _question(
    provider: LiveProvider,
    target: str,
    query: str,
    keys: list[str],
    language: str,
    country: str,
) -> _Question:
    if provider == "searxng":
        fields = {"q": query, "format": "json", "language": f"{language}-{country.upper()}"}
        return _Question(url=f"{target.rstrip('/')}/search?{urlencode(fields)}", headers={})
    if provider == "serpapi":
        fields = {"q": query, "hl": language, "gl": country, "api_key": keys[0]}
        return _Question(url=f"{target}?{urlencode(fields)}", headers={})
    if provider == "brave":
        fields = {"q": query, "search_lang": language, "country": country.upper()}
        return _Question(
            url=f"{target}?{urlencode(fields)}", headers={"X-Subscription-Token": keys[0]}
        )
    if provider == "serper":
        return _Question(
            url=target,
            headers={"X-API-KEY": keys[0], "Content-Type": "application/json"},
            body=json_bytes({"q": query, "hl": language, "gl": country}),
        )
    named = base64.b64encode(":".join(keys).encode()).decode()
    place = _COUNTRY_NUMBERS.get(country.lower())
    if place is None:
        raise InvalidInput(
            f"The country {country!r} is not known for dataforseo",
            todo=f"Use {', '.join(_COUNTRY_NUMBERS)}.",
        )
    task = {"keyword": query, "language_code": language, "location_code": 2000 + place}
    return _Question(
        url=target,
        headers={"Authorization": f"Basic {named}", "Content-Type": "application/json"},
        body=json_bytes([task]),
    )


def _ask(provider: LiveProvider, question: _Question) -> bytes:
    """The answer's bytes. By the transport: the client would log the address, and a key in it."""
    try:
        request = httpx2.Request(
            "POST" if question.body else "GET",
            question.url,
            headers={"Accept": "application/json", "Accept-Encoding": "gzip", **question.headers},
            content=question.body,
            extensions={
                "timeout": dict.fromkeys(("connect", "read", "write", "pool"), _SECONDS),
            },
        )
        with httpx2.HTTPTransport() as transport:
            response = transport.handle_request(request)
            try:
                packed = "gzip" in response.headers.get("content-encoding", "")
                unpacker = Unpacker(packed=packed, max_bytes=_LARGEST)
                assert isinstance(response.stream, httpx2.SyncByteStream)
                for chunk in response.stream:
                    unpacker.add(chunk)
            finally:
                response.close()
            content = unpacker.content()
    except (httpx2.InvalidURL, ValueError):
        raise InvalidInput(
            f"The address of {provider} is none", todo="Check its spelling."
        ) from None
    except httpx2.HTTPError as error:
        raise Unreachable(
            f"{provider} does not answer: {type(error).__name__}", todo="Try again later."
        ) from None
    except UnfitError as unfit:
        raise InvalidInput(f"{provider} answered what is not taken: {unfit.reason}") from None
    _check_status(provider, response.status_code)
    return content


def _check_status(provider: LiveProvider, status: int) -> None:
    if status in (401, 402, 403):
        keys = " and ".join(LIVE_PROVIDERS[provider])
        raise InvalidInput(
            f"{provider} refused the request (status {status})", todo=f"Check {keys}."
        )
    if status == 429 or status >= 500:
        raise Unreachable(f"{provider} is busy (status {status})", todo="Try again later.")
    if status != 200:
        raise InvalidInput(f"{provider} answered with status {status}")
