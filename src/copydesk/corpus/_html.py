"""An HTML page in; its main text as Markdown, and what it says of itself, out.

trafilatura finds the main text (Barbaresi 2021); headings, dates and JSON-LD are read here.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trafilatura
from lxml import etree, html  # pyright: ignore[reportAttributeAccessIssue] - in C, no stubs

from copydesk.corpus._fields import LONGEST_LINE, UnfitError, day
from copydesk.corpus._markdown import markdown_of
from copydesk.corpus._pages import shown
from copydesk.corpus._readers import Raw, raw_place
from copydesk.corpus._words import clean_line, clean_text
from copydesk.records import Rejection

_MOST_ELEMENTS: Final = 60_000
"""Of one page: the time of extraction grows with them."""
_MOST_JSON_LD: Final = 256 * 1024
_META_CHARSET: Final = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]+)""")
_HEADER_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_:.-]+)""", re.IGNORECASE)
# As browsers read these labels (WHATWG Encoding, 4.2).
_AS_BROWSERS: Final[Mapping[str, str]] = {"iso-8859-1": "cp1252", "latin1": "cp1252"}
_ARTICLES: Final = frozenset(
    {"article", "blogposting", "newsarticle", "techarticle", "report", "recipe", "product"}
)
_DATES: Final = ("article:published_time", "datepublished", "date", "dc.date", "dcterms.created")


@dataclass(frozen=True, slots=True, kw_only=True)
class HtmlPage:
    """What a page holds."""

    title: str
    text: str
    """The main text, as Markdown without links."""
    date: str | None
    """When it was published, `YYYY-MM-DD`, where it says so."""
    description: str | None
    format: str
    """`product` where its JSON-LD describes one and no article, else `blog`."""
    json_ld: tuple[Mapping[str, Any], ...]
    """Each object of its JSON-LD, as it is written."""
    meta: tuple[tuple[str, str], ...]
    """(name, content) of its meta elements, names in lower case."""
    links: tuple[str, ...]
    """Addresses of its links, as they are written; those of `rel=nofollow` are left out."""
    base: str | None
    """What relative addresses start from, where it is not the page's own address."""


def read_html(content: bytes, content_type: str = "") -> HtmlPage:
    """Read a page.

    Args:
        content: its bytes.
        content_type: the header of that name; its charset goes before the page's own.

    Raises:
        UnfitError: it holds NUL bytes, or bytes that its charset does not know; or it is no page.
    """
    tree = _tree(_decoded_html(content, content_type))
    json_ld = tuple(_json_ld(tree))
    meta = tuple(_meta(tree))
    named = dict(reversed(meta))
    title = _title(tree, json_ld, named)
    kinds = {kind for item in json_ld for kind in _types(item)}
    base = tree.find(".//base[@href]")
    links = tuple(
        str(link.get("href", "")).strip()
        for link in tree.iterfind(".//a[@href]")
        if "nofollow" not in str(link.get("rel", "")).lower().split()
    )
    date = _date(tree, json_ld, named)
    return HtmlPage(
        title=title,
        text=_main_text(tree),
        date=date,
        description=_line(named.get("description") or named.get("og:description")),
        format="product" if "product" in kinds and not kinds & _ARTICLES - {"product"} else "blog",
        json_ld=json_ld,
        meta=meta,
        links=links,
        base=None if base is None else base.get("href"),
    )


def html_record(path: Path, content: bytes) -> Raw | Rejection:
    """A file is one record."""
    place = raw_place(shown(path), None, content, shown(Path(path.stem)))
    try:
        page = read_html(content)
    except UnfitError as unfit:
        return place.reject(unfit.rule, unfit.reason)
    names = ("title", "text", "format", "date", "description")
    return Raw({name: getattr(page, name) for name in names}, place)


def html_text(fragment: str) -> str:
    """The text of a piece of HTML, all of it, as Markdown: a field of a feed or of an export.

    Raises:
        UnfitError: it cannot be read.
    """
    if "<" not in fragment and "&" not in fragment:
        return clean_text(fragment)
    body = _tree(f"<html><body><div>{fragment}</div></body></html>").find("body")
    return "" if body is None else clean_text(markdown_of(body))


def _decoded_html(content: bytes, content_type: str) -> str:
    if b"\0" in content:
        raise UnfitError("null-bytes", "It holds NUL bytes: it is binary, or text in UTF-16.")
    declared = _HEADER_CHARSET.search(content_type)
    in_page = _META_CHARSET.search(content[:4096])
    named = declared[1] if declared else in_page[1].decode() if in_page else None
    tried = [named] if named else ["utf-8", "cp1252"]
    if content.startswith(b"\xef\xbb\xbf"):
        tried = ["utf-8-sig"]
    for charset in tried:
        try:
            return content.decode(_AS_BROWSERS.get(charset.lower(), charset))
        except (UnicodeError, LookupError):
            continue
    raise UnfitError("wrong-encoding", f"Its bytes are not {' or '.join(tried)}, as it says.")


def _tree(text: str) -> html.HtmlElement:
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        tree = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (etree.LxmlError, ValueError, AssertionError) as error:
        raise UnfitError("not-html", f"It is not HTML: {error}.") from None
    if not isinstance(tree, html.HtmlElement):
        raise UnfitError("not-html", "It is not HTML.")
    return tree


def _main_text(tree: html.HtmlElement) -> str:
    if sum(1 for _ in tree.iter()) > _MOST_ELEMENTS:
        raise UnfitError("too-large", f"The page has more than {_MOST_ELEMENTS:,} elements.")
    try:
        found = trafilatura.extract(
            tree,
            output_format="markdown",
            include_comments=False,
            include_tables=True,
            include_links=False,
            include_formatting=True,
        )
    except (etree.LxmlError, ValueError, RecursionError) as error:
        raise UnfitError("not-html", f"Its text cannot be told from the rest: {error}.") from None
    return clean_text(found or "")


def _json_ld(tree: html.HtmlElement) -> Iterator[Mapping[str, Any]]:
    room = _MOST_JSON_LD
    for script in tree.iterfind(".//script[@type='application/ld+json']"):
        written = script.text or ""
        room -= len(written)
        if room < 0:
            return
        try:
            value = json.loads(written, strict=False)
        except (ValueError, RecursionError):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                graph = item.get("@graph")
                inner = graph if isinstance(graph, list) else [item]
                yield from (one for one in inner if isinstance(one, dict))


def _types(item: Mapping[str, Any]) -> list[str]:
    value = item.get("@type")
    return [str(one).lower() for one in (value if isinstance(value, list) else [value]) if one]


def _meta(tree: html.HtmlElement) -> Iterator[tuple[str, str]]:
    for element in tree.iterfind(".//meta[@content]"):
        for attribute in ("name", "property", "itemprop"):
            name = element.get(attribute)
            if name:
                yield str(name).strip().lower(), str(element.get("content"))


def _title(
    tree: html.HtmlElement, json_ld: Sequence[Mapping[str, Any]], meta: Mapping[str, str]
) -> str:
    """The article's own headline, before those that the site's name is appended to."""
    for item in json_ld:
        if _ARTICLES.intersection(_types(item)):
            found = _line(item.get("headline") or item.get("name"))
            if found:
                return found
    first = tree.findall(".//h1")
    headings = [found for one in first if (found := _line(one.text_content()))]
    if len(headings) == 1:
        return headings[0]
    written = tree.find(".//title")
    own = _line(written.text_content()) if written is not None else None
    return _line(meta.get("og:title")) or own or (headings[0] if headings else "")


def _date(
    tree: html.HtmlElement, json_ld: Sequence[Mapping[str, Any]], meta: Mapping[str, str]
) -> str | None:
    times = [str(one.get("datetime")) for one in tree.iterfind(".//time[@datetime]")]
    written = [
        *(str(item.get("datePublished")) for item in json_ld if item.get("datePublished")),
        *(meta[name] for name in _DATES if name in meta),
        *times[:1],
    ]
    for one in written:
        try:
            found = day(clean_line(one))
        except UnfitError:
            continue
        if found:
            return found
    return None


def _line(value: object) -> str | None:
    """One line of text, cut to what a field may hold."""
    return clean_line(value)[:LONGEST_LINE].strip() or None if isinstance(value, str) else None
