"""Drafts in the forms that others take: HTML, DOCX, JSON and WordPress's WXR, with JSON-LD.

Whatever a draft holds is text: markup in it is escaped, addresses that a browser would run are not
linked, and structured data says what the brief says and nothing else.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from html import escape
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from copydesk.content._drafts import draft_markdown
from copydesk.errors import InvalidInput
from copydesk.records import Draft

_ARTICLES: Final = ("blog", "doc")


def draft_json_ld(draft: Draft) -> dict[str, Any] | None:
    """Structured data of a draft: an Article, or a Product that has an offer.

    Only what the brief gives is in it: an author when it names one, an offer when it has a price.
    Google needs a Product to have an offer, a review or a rating; without a price there is none.

    Returns:
        The JSON-LD object; None for formats that have none.
    """
    brief = draft.brief
    if brief.format in _ARTICLES:
        article: dict[str, Any] = {
            "@context": "https://schema.org",
            "@type": "Article",
            "headline": draft.title,
            "description": draft.meta_description,
        }
        if brief.author:
            article["author"] = {"@type": "Person", "name": brief.author}
        keywords = [phrase for phrase in (brief.keyword, *brief.keywords) if phrase]
        if keywords:
            article["keywords"] = keywords
        return article
    if brief.format == "product" and brief.price and brief.currency:
        offer = {"@type": "Offer", "price": brief.price, "priceCurrency": brief.currency}
        return {
            "@context": "https://schema.org",
            "@type": "Product",
            "name": draft.title,
            "description": draft.meta_description,
            "offers": offer,
        }
    return None


def draft_html(draft: Draft) -> str:
    """A whole HTML page: title, description, JSON-LD and the text."""
    data = draft_json_ld(draft)
    # In a script only `<` could end it early.
    scripted = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c") if data else ""
    script = f'<script type="application/ld+json">{scripted}</script>\n' if data else ""
    author = (
        f'<meta name="author" content="{escape(draft.brief.author)}">\n'
        if draft.brief.author
        else ""
    )
    title = escape(draft.title)
    page = (
        f'<!doctype html>\n<html>\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="description" content="{escape(draft.meta_description)}">\n{author}{script}'
        f"</head>\n<body>\n<article>\n<h1>{title}</h1>\n{_body(draft.text)}"
        "</article>\n"
        "</body>\n</html>\n"
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def draft_wxr(draft: Draft) -> str:
    """A WordPress import file (WXR 1.2) with the draft as one unpublished post."""
    kind = "page" if draft.brief.format == "doc" else "post"
    content = _cdata(_body(draft.text))
    keywords = "".join(
        f'<category domain="post_tag" nicename="{escape(_nice(phrase))}">{_cdata(phrase)}'
        "</category>\n"
        for phrase in (draft.brief.keyword, *draft.brief.keywords)
        if phrase
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/"'
        ' xmlns:content="http://purl.org/rss/1.0/modules/content/"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:wp="http://wordpress.org/export/1.2/">\n'
        f"<channel>\n<title>{escape(draft.client)}</title>\n"
        "<wp:wxr_version>1.2</wp:wxr_version>\n<item>\n"
        f"<title>{_cdata(draft.title)}</title>\n"
        f"<dc:creator>{_cdata(draft.brief.author or '')}</dc:creator>\n"
        f"<content:encoded>{content}</content:encoded>\n"
        f"<excerpt:encoded>{_cdata(draft.meta_description)}</excerpt:encoded>\n"
        f"<wp:post_name>{_cdata(draft.slug)}</wp:post_name>\n<wp:status>draft</wp:status>\n"
        f"<wp:post_type>{kind}</wp:post_type>\n{keywords}</item>\n</channel>\n</rss>\n"
    )
    return _xml_only(text)


def draft_json(draft: Draft) -> str:
    """The draft's record, with its JSON-LD."""
    document = {**asdict(draft), "json_ld": draft_json_ld(draft)}
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def draft_docx(draft: Draft) -> bytes:
    """A Word document: headings, paragraphs, lists and emphasis; links as words and address."""
    import docx

    document = docx.Document()
    document.core_properties.title = _xml_only(draft.title)[:255]
    document.core_properties.comments = _xml_only(draft.meta_description)
    document.core_properties.author = _xml_only(draft.brief.author or "")[:255]
    document.add_heading(_xml_only(draft.title), level=0)
    style, level, listed = "", 0, list[str]()
    for token in MarkdownIt("commonmark", {"html": False}).parse(draft.text):
        match token.type:
            case "heading_open":
                level = int(token.tag[1:])
            case "bullet_list_open" | "ordered_list_open":
                listed.append("List Number" if token.type.startswith("o") else "List Bullet")
            case "bullet_list_close" | "ordered_list_close":
                listed.pop()
            case "inline":
                style = listed[-1] if listed else "Normal"
                made = (
                    document.add_heading("", level=min(level, 9))
                    if level
                    else document.add_paragraph("", style=style)
                )
                _runs(made, token.children or [])
                level = 0
            case "fence" | "code_block":
                document.add_paragraph(_xml_only(token.content.rstrip("\n")))
            case _:
                pass
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def draft_as(draft: Draft, to: str) -> bytes:
    """A draft as a file of one of `FORMATS`.

    Raises:
        InvalidInput: there is no such form.
    """
    if to not in FORMATS:
        raise InvalidInput(
            f"Drafts cannot be written as {to!r}", todo=f"Forms are: {', '.join(FORMATS)}."
        )
    made = FORMATS[to](draft)
    return made if isinstance(made, bytes) else made.encode("utf-8", "replace")


FORMATS: Final[Mapping[str, Callable[[Draft], str | bytes]]] = {
    "md": draft_markdown,
    "html": draft_html,
    "docx": draft_docx,
    "json": draft_json,
    "wxr": draft_wxr,
}
"""Form, and a file's ending -> what makes it."""


def _body(text: str) -> str:
    return MarkdownIt("commonmark", {"html": False}).render(text)


def _runs(paragraph: Any, tokens: list[Token]) -> None:
    bold, italic, address = 0, 0, ""
    for token in tokens:
        match token.type:
            case "strong_open" | "strong_close":
                bold += token.nesting
            case "em_open" | "em_close":
                italic += token.nesting
            case "link_open":
                address = str(token.attrGet("href") or "")
            case "link_close":
                paragraph.add_run(_xml_only(f" ({address})"))
            case "softbreak" | "hardbreak":
                paragraph.add_run(" ")
            case _:
                run = paragraph.add_run(_xml_only(token.content))
                run.bold, run.italic = bold > 0, italic > 0


def _cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def _nice(phrase: str) -> str:
    return "-".join(phrase.lower().split())


def _xml_only(text: str) -> str:
    """Without the characters that XML 1.0 does not allow."""
    return "".join(
        char
        for char in text
        if char in "\t\n\r"
        or (char >= " " and not "\ud800" <= char <= "\udfff" and char not in "\ufffe\uffff")
    )
