"""What was fetched of a site: kept in a folder, so that a crawl that was cut off goes on.

`journal.jsonl` has a line for each page, added when the page's bytes lie in `bodies/`; a line that
was cut off is passed over. The next crawl asks only for what has changed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from copydesk.store import append_line, replace_bytes, storage_errors

KEPT_HEADERS: Final = (
    *("content-type", "etag", "last-modified", "x-robots-tag", "tdm-reservation"),
    "x-wp-totalpages",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A page that was fetched."""

    url: str
    """As it was asked for."""
    final_url: str
    """Where redirects led."""
    sha256: str
    """Of its bytes, unpacked."""
    retrieved: str
    """When it was fetched or found unchanged: ISO time, UTC."""
    headers: Mapping[str, str]
    """Those of `KEPT_HEADERS` that it came with."""


_FETCHED: Final = TypeAdapter(Fetched)


class SiteFolder:
    """The folder of one site."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal = folder / "journal.jsonl"
        self._known: dict[str, Fetched] = {}
        self._done: dict[str, Fetched] = {}

    def begin(self, seed: str) -> bool:
        """Begin a crawl, or go on with one that was cut off; true where it goes on."""
        unfinished: str | None = None
        for line in self._lines():
            if "begin" in line:
                unfinished = str(line["begin"])
                self._done = {}
            elif "end" in line:
                unfinished = None
            elif (page := _page(line)) is not None:
                self._known[page.url] = self._done[page.url] = page
        if unfinished == seed:
            return True
        self._done = {}
        self._rewrite([*({"page": asdict(page)} for page in self._known.values()), {"begin": seed}])
        return False

    def done(self, url: str) -> Fetched | None:
        """What this crawl, before it was cut off, fetched there."""
        return self._done.get(url)

    def known(self, url: str) -> Fetched | None:
        """What an earlier crawl fetched there, where its bytes are still whole."""
        page = self._known.get(url)
        return page if page and self.content(page) is not None else None

    def content(self, page: Fetched) -> bytes | None:
        """A page's bytes; None where they are gone or damaged."""
        try:
            content = self._body(page.sha256).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == page.sha256 else None

    def keep(self, page: Fetched, content: bytes) -> None:
        """Keep a page that was fetched, or found unchanged.

        Raises:
            NoRoom: the disk is full or may not be written.
        """
        if self.content(page) is None:
            replace_bytes(self._body(page.sha256), content)
        append_line(self._journal, {"page": asdict(page)})
        self._known[page.url] = self._done[page.url] = page

    def finish(self, pages: list[dict[str, Any]]) -> None:
        """End the crawl: pages that it did not meet are forgotten.

        Args:
            pages: what was read of each page, for `pages.jsonl`.
        """
        lines = (json.dumps(page, ensure_ascii=False, sort_keys=True) + "\n" for page in pages)
        replace_bytes(self._folder / "pages.jsonl", "".join(lines).encode())
        self._known = dict(self._done)
        self._rewrite([*({"page": asdict(page)} for page in self._known.values()), {"end": True}])
        wanted = {page.sha256 for page in self._known.values()}
        for body in (self._folder / "bodies").glob("*"):
            if body.name not in wanted:
                body.unlink(missing_ok=True)

    def _body(self, sha256: str) -> Path:
        return self._folder / "bodies" / sha256

    def _lines(self) -> list[dict[str, Any]]:
        with storage_errors(self._journal):
            self._folder.mkdir(parents=True, exist_ok=True)
            content = self._journal.read_bytes() if self._journal.exists() else b""
        found: list[dict[str, Any]] = []
        for line in content.split(b"\n"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    def _rewrite(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
        replace_bytes(self._journal, text.encode())


def _page(line: Mapping[str, Any]) -> Fetched | None:
    try:
        page = _FETCHED.validate_python(line.get("page"))
    except ValidationError:
        return None
    # It names a file: nothing but a hash may.
    hexadecimal = len(page.sha256) == 64 and not set(page.sha256) - set("0123456789abcdef")
    return page if hexadecimal else None
