"""WordPress in: its export files (WXR) and what its REST interface answers.

What was published counts; drafts, the trash, revisions, attachments and menus are left out.
"""

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from copydesk.corpus._fields import UnfitError
from copydesk.corpus._html import html_text
from copydesk.corpus._pages import Place, shown
from copydesk.corpus._readers import Raw, UnusableFileError, raw_place
from copydesk.corpus._words import clean_line
from copydesk.corpus._xml import Element, child_text, local_name, parse_xml, xml_bytes
from copydesk.records import Rejection

_FORMATS: Final[Mapping[str, str]] = {"post": "blog", "page": "landing", "product": "product"}
_BLOCK: Final = re.compile(
    r"<(?:p|div|h[1-6]|ul|ol|table|blockquote|pre|figure|section)[\s>]", re.IGNORECASE
)
_SHORTCODE: Final = re.compile(r"\[/?[a-z][a-z0-9_-]*(?:\s[^\[\]]{0,500})?\]")
_KEYWORDS: Final = ("_yoast_wpseo_focuskw", "rank_math_focus_keyword")


def is_wxr(root: Element) -> bool:
    """Whether XML is an export of WordPress rather than a feed."""
    return local_name(root) == "rss" and any(
        local_name(child) == "wxr_version" for channel in root for child in channel
    )


def wxr_records(path: Path, content: bytes) -> Iterator[Raw | Rejection]:
    """One published post, page or product of an export a record.

    Raises:
        UnusableFileError: it is no WXR, or XML with entities.
    """
    try:
        root = parse_xml(content.strip())
    except UnfitError as unfit:
        raise UnusableFileError(
            unfit.rule, unfit.reason.removesuffix("."), "Export it again from WordPress."
        ) from None
    if not is_wxr(root):
        raise UnusableFileError(
            "not-wxr",
            "The XML is no export of WordPress: there is no `wxr_version`",
            "Export it by Tools > Export.",
        )
    items = (item for channel in root for item in channel if local_name(item) == "item")
    for number, item in enumerate(items, start=1):
        raw = xml_bytes(item)
        place = raw_place(f"{shown(path)} item {number}", None, raw)
        try:
            yield Raw(_wxr_fields(item), place)
        except UnfitError as unfit:
            yield place.reject(unfit.rule, unfit.reason)


def _wxr_fields(item: Element) -> dict[str, object]:
    kind = child_text(item, "post_type") or "post"
    _check_published(kind, child_text(item, "status"), child_text(item, "post_password"))
    meta = {
        child_text(one, "meta_key"): child_text(one, "meta_value")
        for one in item
        if local_name(one) == "postmeta"
    }
    address = child_text(item, "link")
    body = next((one.text or "" for one in item if one.tag.endswith("content/}encoded")), "")
    return {
        "title": clean_line(html.unescape(child_text(item, "title"))),
        "text": _post_text(body),
        "format": _FORMATS.get(kind, "blog"),
        "date": _post_date(child_text(item, "post_date")),
        "keyword": next((meta[name] for name in _KEYWORDS if meta.get(name)), None),
        "url": address if address.startswith(("http://", "https://")) else None,
    }


def is_rest_post(fields: Mapping[str, object]) -> bool:
    """Whether a JSON object is a post as the REST interface gives it."""
    content = fields.get("content")
    return isinstance(content, dict) and isinstance(content.get("rendered"), str)


def rest_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Our fields of a post of the REST interface.

    Raises:
        UnfitError: it is not published, or is protected by a password.
    """
    kind = _text(fields.get("type")) or "post"
    content = fields["content"]
    assert isinstance(content, dict)
    locked = "locked" if content.get("protected") is True else ""
    _check_published(kind, _text(fields.get("status")) or "publish", locked)
    title = fields.get("title")
    rendered = title.get("rendered") if isinstance(title, dict) else title
    return {
        "title": clean_line(html.unescape(re.sub(r"<[^<>]*>", "", _text(rendered)))),
        "text": _post_text(str(content["rendered"])),
        "format": _FORMATS.get(kind, "blog"),
        "date": _post_date(_text(fields.get("date"))),
        "url": _text(fields.get("link")) or None,
    }


def rest_record(raw: Raw) -> Raw | Rejection:
    """A post of the REST interface as a record with our fields."""
    try:
        return Raw(rest_fields(raw.fields), raw.place)
    except UnfitError as unfit:
        return raw.place.reject(unfit.rule, unfit.reason)


def posts_of(answer: object, place: Place) -> Iterator[Raw | Rejection]:
    """The posts of one answer of the REST interface, a list or one post."""
    for number, item in enumerate(answer if isinstance(answer, list) else [answer], start=1):
        here = Place(path=f"{place.path} item {number}", line=None, digest=place.digest)
        if isinstance(item, dict) and is_rest_post(item):
            yield rest_record(Raw(item, here))
        else:
            yield here.reject("not-a-post", "The item is no post of WordPress's REST interface.")


def _check_published(kind: str, status: str, password: str) -> None:
    if kind == "revision" or status == "inherit":
        raise UnfitError("revision", "It is a revision or an attachment, not a page of its own.")
    if kind in ("attachment", "nav_menu_item", "custom_css", "wp_global_styles", "wp_navigation"):
        raise UnfitError("not-a-post", f"It is of the kind {kind!r}, which holds no copy.")
    if status != "publish":
        raise UnfitError("not-published", f"Its status is {status[:40]!r}, not `publish`.")
    if password:
        raise UnfitError("not-published", "It is protected by a password.")


def _post_text(body: str) -> str:
    """Markdown. What the classic editor wrote has blank lines where its paragraphs end."""
    body = _SHORTCODE.sub("", body)
    if not _BLOCK.search(body):
        parts = [part.strip() for part in re.split(r"\n\s*\n", body.replace("\r\n", "\n"))]
        body = "".join(f"<p>{part.replace(chr(10), '<br>')}</p>" for part in parts if part)
    return html_text(body)


def _post_date(written: str) -> str | None:
    return written if written and not written.startswith("0000") else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
