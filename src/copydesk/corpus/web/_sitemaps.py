"""Sitemaps and feeds: which addresses they name."""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urljoin

from copydesk.corpus._fields import UnfitError
from copydesk.corpus._unpack import GZIP_MAGIC, gunzip
from copydesk.corpus._xml import Element, child_text, local_name, parse_xml

_MOST_ADDRESSES: Final = 50_000
"""Of one sitemap (sitemaps.org)."""
_START: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a sitemap, an index of sitemaps or a feed names."""

    kind: Literal["sitemap", "index", "feed"]
    addresses: tuple[str, ...]
    """In the file's order, each once: of pages, or of an index's sitemaps. Absolute, or no
    addresses at all."""


def is_listing(content: bytes) -> bool:
    """Whether the bytes look like XML that is no page, or are packed."""
    start = content[:_START].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(GZIP_MAGIC):
        return True
    if start.startswith((b"<urlset", b"<sitemapindex", b"<rss", b"<feed", b"<rdf:rdf")):
        return True
    return start.startswith(b"<?xml") and b"<html" not in start


def read_listing(content: bytes, url: str, *, max_bytes: int) -> Listing:
    """Read a sitemap (sitemaps.org), an index, an RSS 2.0, RSS 1.0 or Atom feed.

    Args:
        content: as it was fetched; a file packed by gzip is unpacked.
        url: where it was found; relative addresses start from there.
        max_bytes: most bytes, unpacked.

    Raises:
        UnfitError: it is none of these, or cannot be unpacked.
    """
    if content.startswith(GZIP_MAGIC):
        content = gunzip(content, max_bytes)
    root = parse_xml(content.strip())
    name = local_name(root)
    if name == "urlset":
        kind, found = "sitemap", [child_text(one, "loc") for one in root]
    elif name == "sitemapindex":
        kind, found = "index", [child_text(one, "loc") for one in root]
    elif name in ("rss", "RDF", "feed"):
        kind, found = "feed", [_entry_address(one) for one in root.iter() if _is_entry(one)]
    else:
        raise UnfitError("not-a-listing", f"XML of the kind <{name[:40]}> names no pages.")
    addresses = dict.fromkeys(_joined(url, one) for one in found if one)
    return Listing(kind=kind, addresses=tuple(addresses)[:_MOST_ADDRESSES])


def _joined(url: str, address: str) -> str:
    """An address from where it was found; one that is none stays as it is, to be named."""
    try:
        return urljoin(url, address)
    except ValueError:
        return address


def _is_entry(element: Element) -> bool:
    return local_name(element) in ("item", "entry")


def _entry_address(entry: Element) -> str:
    """Of RSS `<link>ADDRESS</link>`, of Atom `<link href>` that is the page itself."""
    for child in entry:
        if local_name(child) == "link":
            if child.get("rel", "alternate") != "alternate":
                continue
            return (child.get("href") or child.text or "").strip()
    return ""
