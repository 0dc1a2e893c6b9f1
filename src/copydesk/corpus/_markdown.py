"""A piece of HTML in; all of its text as Markdown, out. For what is content already."""

import re
from typing import Final

from lxml import html

_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_EMPHASIS: Final = {"strong": "**", "b": "**", "em": "*", "i": "*"}
_INLINE: Final = frozenset(
    {"a", "abbr", "b", "bdi", "cite", "code", "del", "dfn", "em", "i", "img", "ins", "kbd", "mark"}
    | {"q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "br", "wbr"}
)
_UNSEEN: Final = frozenset({"script", "style", "noscript", "template"})
"""They may stand inside a sentence and do not end it."""
_SKIPPED: Final = _UNSEEN | {"iframe", "svg", "form", "button", "head", "nav"}
_LIST: Final = frozenset({"ul", "ol"})


def markdown_of(element: html.HtmlElement) -> str:
    """The text of an element: paragraphs, headings, lists, quotes, code and tables; no links."""
    return "\n\n".join(_blocks(element)).strip()


def _blocks(element: html.HtmlElement) -> list[str]:
    """The blocks inside an element, in order; loose text between them is a paragraph."""
    blocks: list[str] = []
    loose = _flat(element.text)
    for child in element:
        if child.tag in _INLINE | _UNSEEN:
            loose += _inline(child)
        else:
            blocks += _paragraph(loose)
            loose = ""
            blocks += _block(child)
        loose += _flat(child.tail)
    return blocks + _paragraph(loose)


def _block(element: html.HtmlElement) -> list[str]:
    tag = element.tag
    if not isinstance(tag, str) or tag in _SKIPPED:
        return []
    if tag in _HEADINGS:
        return [f"{'#' * _HEADINGS[tag]} {words}" for words in _paragraph(_inside(element))]
    if tag in _LIST:
        items = _items(element)
        return ["\n".join(items)] if items else []
    if tag == "pre":
        code = str(element.text_content()).strip("\n")
        return [f"```\n{code}\n```"] if code.strip() else []
    if tag == "blockquote":
        quoted = "\n\n".join(_blocks(element))
        return ["\n".join(f"> {line}".rstrip() for line in quoted.split("\n"))] if quoted else []
    if tag == "table":
        return _table(element)
    if tag == "hr":
        return ["---"]
    return _blocks(element)


def _items(element: html.HtmlElement) -> list[str]:
    lines: list[str] = []
    for number, item in enumerate(element.iterchildren("li"), start=1):
        mark = f"{number}. " if element.tag == "ol" else "- "
        blocks = _blocks(item)
        if blocks:
            text = "\n".join(blocks)
            lines.append(mark + text.replace("\n", "\n" + " " * len(mark)))
    return lines


def _table(element: html.HtmlElement) -> list[str]:
    rows: list[list[str]] = []
    for row in element.iter("tr"):
        cells = [
            " ".join(_blocks(cell)).replace("\n", " ") for cell in row.iterchildren("th", "td")
        ]
        if any(cells):
            rows.append([cell.replace("|", "\\|") for cell in cells])
    if not rows:
        return []
    width = max(map(len, rows))
    lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
    return ["\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])]


def _inside(element: html.HtmlElement) -> str:
    inner = "".join(_inline(child) + _flat(child.tail) for child in element)
    return _flat(element.text) + inner


def _flat(text: str | None) -> str:
    """Text as a browser shows it: line ends in the source are blanks."""
    return re.sub(r"\s+", " ", text or "")


def _inline(element: html.HtmlElement) -> str:
    tag = element.tag
    if not isinstance(tag, str) or tag in _SKIPPED:
        return ""
    if tag == "br":
        return "\n"
    inner = _inside(element)
    if tag == "code" and inner.strip():
        return f"`{inner.strip()}`"
    mark = _EMPHASIS.get(tag, "")
    if mark and inner.strip():
        before = inner[: len(inner) - len(inner.lstrip())]
        after = inner[len(inner.rstrip()) :]
        return f"{before}{mark}{inner.strip()}{mark}{after}"
    return inner


def _paragraph(text: str) -> list[str]:
    """One block, or none; blanks between words are one, line breaks stay."""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    joined = "\n".join(line for line in lines if line)
    return [joined] if joined else []
