"""An address in; the pages of its site, section, sitemap or feed, as raw records, out."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from copydesk.corpus._fields import UnfitError
from copydesk.corpus._html import HtmlPage, read_html
from copydesk.corpus._pages import Place
from copydesk.corpus._readers import Gathered, Raw
from copydesk.corpus._wordpress import posts_of
from copydesk.corpus.web._fetch import Fetcher, parse_url
from copydesk.corpus.web._politeness import PoliteReader, Sleep
from copydesk.corpus.web._settings import WebSettings
from copydesk.corpus.web._signals import Signals, signals_of
from copydesk.corpus.web._sitemaps import is_listing, read_listing
from copydesk.corpus.web._state import KEPT_HEADERS, Fetched, SiteFolder
from copydesk.errors import InvalidInput, Unreachable
from copydesk.records import Listener, Progress, Rejection, ignore_progress

_NO_PAGES: Final = (
    *(".avif", ".bmp", ".css", ".doc", ".docx", ".eot", ".epub", ".gif", ".gz", ".ico", ".jpeg"),
    *(".jpg", ".js", ".json", ".mp3", ".mp4", ".ods", ".pdf", ".png", ".ppt", ".pptx", ".rss"),
    *(".svg", ".tar", ".tif", ".ttf", ".wav", ".webm", ".webp", ".woff", ".woff2", ".xls"),
    *(".xlsx", ".xml", ".zip"),
)
_MACHINE: Final = frozenset(
    {"unreachable", "timeout", "certificate", "too-many-requests", "bad-http"}
)
_DEFAULTS: Final = WebSettings()


def crawl(
    seed: str,
    *,
    folder: Path,
    settings: WebSettings = _DEFAULTS,
    listener: Listener = ignore_progress,
    sleep: Sleep = time.sleep,
) -> Gathered:
    """Fetch what an address names, politely, and tell each page's main text from the rest.

    - A sitemap, an index of sitemaps, an RSS or Atom feed: the pages it names, on its own host.
    - A list of posts of WordPress's REST interface: the posts, and those of its further pages.
    - An address that ends in `/`: the page, and those below it: of a whole site as its sitemaps
      name them, else as pages link to one another.
    - Any other address: that page.

    Each page's bytes are kept in `folder`, with what its JSON-LD says in `pages.jsonl`. A crawl
    that was cut off goes on; a later one asks only for what has changed.

    Args:
        seed: an address of http or https.
        folder: the site's own; it is made.
        settings: limits.
        listener: receives an event a page.
        sleep: waits so many seconds.

    Raises:
        InvalidInput: nothing was read, as the site does not allow it or has no page there.
        Unreachable: nothing was read, as the site did not answer.
        NoRoom: the disk is full or may not be written.
    """
    try:
        seed = _plain(seed)
    except UnfitError as unfit:
        raise InvalidInput(unfit.reason.removesuffix("."), where=seed[:200]) from None
    with Fetcher(settings) as fetcher:
        reader = PoliteReader(fetcher, settings, sleep=sleep)
        run = _Crawl(seed, SiteFolder(folder), reader, settings, listener)
        return run.run()


class _Crawl:
    """One crawl, from its first address to the last."""

    def __init__(
        self,
        seed: str,
        site: SiteFolder,
        reader: PoliteReader,
        settings: WebSettings,
        listener: Listener,
    ) -> None:
        self._seed = seed
        self._site = site
        self._reader = reader
        self._settings = settings
        self._listener = listener
        self._home = seed
        self._waiting: deque[tuple[str, int]] = deque([(seed, 0)])
        self._seen = {seed}
        self._follows_links = False
        self._listings = 0
        self._visited = 0
        self._records: list[Raw | Rejection] = []
        self._pages: list[dict[str, Any]] = []

    def run(self) -> Gathered:
        """Visit page after page until none is left, or as many as may be."""
        self._site.begin(self._seed)
        while self._waiting and self._visited < self._settings.max_pages:
            url, depth = self._waiting.popleft()
            try:
                self._visit(url, depth)
            except UnfitError as unfit:
                self._reject(url, unfit)
            self._report()
        if self._waiting:
            self._reject(
                self._seed,
                UnfitError(
                    "page-cap",
                    f"{len(self._waiting):,} more addresses were not asked for: "
                    f"at most {self._settings.max_pages:,} pages are fetched at once.",
                ),
            )
        if not any(isinstance(record, Raw) for record in self._records):
            raise self._nothing()
        self._site.finish(self._pages)
        return Gathered(name=self._seed, records=tuple(self._records))

    def _visit(self, url: str, depth: int) -> None:
        is_seed = url == self._seed
        limit = self._settings.max_page_bytes
        if is_seed or urlsplit(url).path.endswith((".xml", ".gz")) or self._is_posts(url):
            limit = self._settings.max_sitemap_bytes
        page, content = self._fetch(url, limit)
        if is_seed:
            self._home = page.final_url
        kind = page.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("text/html", "application/xhtml+xml") and is_listing(content):
            self._expand(url, page, content, depth)
            return
        self._visited += 1
        if "json" in kind and self._is_posts(url):
            self._take_posts(page, content, is_seed=is_seed)
            return
        if kind not in ("text/html", "application/xhtml+xml", ""):
            raise UnfitError("not-html", f"It is of the kind {kind[:60]!r}, not a page.")
        if len(content) > self._settings.max_page_bytes:
            raise UnfitError(
                "too-large", f"It has more than {self._settings.max_page_bytes:,} bytes."
            )
        found = read_html(content, page.headers.get("content-type", ""))
        signals = signals_of(
            page.headers,
            found.meta,
            url=page.final_url,
            tdm_rules=self._reader.host(page.final_url).tdm_rules,
        )
        if is_seed and urlsplit(page.final_url).path.endswith("/"):
            self._follows_links = not self._add_sitemaps()
        if self._follows_links and not signals.nofollow:
            self._add_links(found, page.final_url, depth)
        self._take(page, found, signals)

    def _fetch(self, url: str, max_bytes: int) -> tuple[Fetched, bytes]:
        """A page and its bytes: from this crawl before it was cut off, or from its host."""
        page = self._site.done(url)
        content = self._site.content(page) if page else None
        if page and content is not None and self._reader.host(url).robots.allows(url):
            return page, content
        known = self._site.known(url)
        answer = self._reader.read(
            url,
            max_bytes=max_bytes,
            headers=_conditions(known),
            within=lambda target: url == self._seed or self._is_home(target),
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
        if answer.status == 304 and known:
            unchanged = self._site.content(known)
            assert unchanged is not None, "`known` gives pages whose bytes are whole"
            page = replace(known, retrieved=now, headers={**known.headers, **headers})
            self._site.keep(page, unchanged)
            return page, unchanged
        if answer.status != 200:
            raise UnfitError("http-status", f"The server answered with status {answer.status}.")
        page = Fetched(
            url=url,
            final_url=answer.url,
            sha256=hashlib.sha256(answer.content).hexdigest(),
            retrieved=now,
            headers=headers,
        )
        self._site.keep(page, answer.content)
        return page, answer.content

    def _expand(self, url: str, page: Fetched, content: bytes, depth: int) -> None:
        """Take the addresses that a sitemap, an index or a feed names."""
        self._listings += 1
        if self._listings > self._settings.max_sitemaps:
            raise UnfitError(
                "page-cap", f"At most {self._settings.max_sitemaps} sitemaps are read at once."
            )
        listing = read_listing(content, page.final_url, max_bytes=self._settings.max_sitemap_bytes)
        for address in listing.addresses:
            try:
                target = _plain(address)
                if not self._is_home(target):
                    raise UnfitError("other-host", f"It is not on the host of {url[:200]}.")
            except UnfitError as unfit:
                self._reject(address[:500], unfit)
                continue
            self._add(target, depth)

    def _add_sitemaps(self) -> bool:
        """Of a whole site: take the sitemaps that its robots.txt names; true where there are."""
        if urlsplit(self._home).path != "/":
            return False
        added = False
        for address in self._reader.host(self._home).robots.sitemaps:
            try:
                target = _plain(urljoin(self._home, address))
            except (UnfitError, ValueError):
                continue
            if self._is_home(target):
                self._add(target, 0)
                added = True
        return added

    def _add_links(self, found: HtmlPage, url: str, depth: int) -> None:
        if depth >= self._settings.max_depth:
            return
        for link in found.links:
            try:
                target = _plain(urljoin(urljoin(url, found.base or ""), link))
            except (UnfitError, ValueError):
                continue
            path = urlsplit(target).path
            below = path.startswith(urlsplit(self._home).path)
            if self._is_home(target) and below and not path.lower().endswith(_NO_PAGES):
                self._add(target, depth + 1)

    def _add(self, url: str, depth: int) -> None:
        if url not in self._seen:
            self._seen.add(url)
            self._waiting.append((url, depth))

    def _take(self, page: Fetched, found: HtmlPage, signals: Signals) -> None:
        if signals.refused:
            raise UnfitError(*signals.refused)
        self._pages.append(
            {
                **asdict(page),
                **{name: getattr(found, name) for name in ("title", "date", "text", "json_ld")},
            }
        )
        fields = {
            "title": found.title,
            "text": found.text,
            "format": found.format,
            "date": found.date,
            "description": found.description,
            "url": page.final_url[:500],
            "retrieved": page.retrieved,
        }
        place = Place(path=page.url, line=None, digest=page.sha256, title=found.title)
        self._records.append(Raw(fields, place))

    def _take_posts(self, page: Fetched, content: bytes, *, is_seed: bool) -> None:
        """Take the posts of one answer of WordPress, and ask for the answers after the first."""
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise UnfitError("not-json", "The answer is not JSON.") from None
        place = Place(path=page.url, line=None, digest=page.sha256)
        for record in posts_of(answer, place):
            if isinstance(record, Raw):
                record = Raw({**record.fields, "retrieved": page.retrieved}, record.place)
            self._records.append(record)
        pages = page.headers.get("x-wp-totalpages", "")
        if is_seed and pages.isdecimal():
            joint = "&" if urlsplit(page.final_url).query else "?"
            for number in range(2, min(int(pages[:6]), self._settings.max_pages) + 1):
                self._add(f"{page.final_url}{joint}page={number}", 0)

    def _is_posts(self, url: str) -> bool:
        parts = urlsplit(url)
        return "/wp-json/wp/" in parts.path or "rest_route=/wp/" in parts.query

    def _is_home(self, url: str) -> bool:
        ours, theirs = urlsplit(self._home), urlsplit(url)
        return _host(ours.netloc, ours.scheme) == _host(theirs.netloc, theirs.scheme)

    def _reject(self, url: str, unfit: UnfitError) -> None:
        self._records.append(Rejection(source=url, line=None, rule=unfit.rule, reason=unfit.reason))

    def _report(self) -> None:
        total = min(self._visited + len(self._waiting), self._settings.max_pages)
        self._listener(
            Progress(
                task=f"fetch {urlsplit(self._seed).netloc}",
                done=min(self._visited, total),
                total=total,
                unit="pages",
            )
        )

    def _nothing(self) -> InvalidInput | Unreachable:
        first = next((one for one in self._records if isinstance(one, Rejection)), None)
        if first is None:
            return InvalidInput("It names no pages", where=self._seed)
        count = len(self._records)
        more = f" ({count - 1} more addresses were rejected)" if count > 1 else ""
        what = f"No page was read: {first.rule}: {first.reason.removesuffix('.')}{more}"
        if first.rule in _MACHINE:
            return Unreachable(what, where=first.source, todo="Try again later.")
        return InvalidInput(what, where=first.source)


def _plain(url: str) -> str:
    """An address as it is asked for and told apart: no fragment, the host in lower case."""
    parsed = parse_url(url)
    return str(parsed.copy_with(raw_path=parsed.raw_path, fragment=None))


def _host(netloc: str, scheme: str) -> str:
    """Host and port, that of http and that of https taken for one."""
    name = netloc.lower()
    return name.removesuffix(":443" if scheme == "https" else ":80")


def _conditions(known: Fetched | None) -> Mapping[str, str]:
    """The headers that ask for a page only where it has changed (RFC 9110, 13.1)."""
    if known is None:
        return {}
    pairs: tuple[tuple[str, str], ...] = (
        ("If-None-Match", "etag"),
        ("If-Modified-Since", "last-modified"),
    )
    return {ask: known.headers[got] for ask, got in pairs if got in known.headers}
