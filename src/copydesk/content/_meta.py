"""A page's address and description, from its title and its own first sentences."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from copydesk.content._phrases import has_phrase
from copydesk.content._sentences import sentence_ends

MAX_SLUG = 75
MAX_META = 156
"""YoastSEO SCORING SEO.md: 121 to 156 characters."""
_LEAST_META = 60
"""A later passage that is shorter says too little to be worth its keyword."""

# Letters that have no accent to take off.
_LATIN = str.maketrans(
    {
        "\u00df": "ss", "\u00e6": "ae", "\u00c6": "ae", "\u0153": "oe", "\u0152": "oe",
        "\u00f8": "o", "\u00d8": "o", "\u0142": "l", "\u0141": "l", "\u0111": "d", "\u0110": "d",
        "\u00f0": "d", "\u00d0": "d", "\u00fe": "th", "\u00de": "th", "\u0131": "i",
        "'": "", "\u2019": "", "\u2018": "",
    }
)  # fmt: skip


def slug(title: str) -> str:
    """The title as part of an address: lower-case ASCII words and hyphens, at most 75 characters.

    A title without one Latin letter or digit gets `page-` and the head of its hash.
    """
    plain = unicodedata.normalize("NFKD", title.translate(_LATIN)).encode("ascii", "ignore")
    words = re.findall(r"[a-z0-9]+", plain.decode("ascii").lower())
    if not words:
        return "page-" + hashlib.sha256(title.encode("utf-8", "replace")).hexdigest()[:8]
    whole = "-".join(words)
    if len(whole) <= MAX_SLUG:
        return whole
    return whole[: MAX_SLUG + 1].rpartition("-")[0] or whole[:MAX_SLUG]


def meta_description(text: str, *, keyword: str | None = None) -> str:
    """Sentences of the draft's own as plain text, as many as fit into 156 characters.

    They are the first ones; with a keyword that those lack, the first that have it, where there are
    such. A sentence that does not fit is cut at a word and ends with an ellipsis.
    """
    plain = plain_text(text)
    first = _fitting(plain)
    if keyword is None or has_phrase(first, keyword):
        return first
    for start in [end + 1 for end in sentence_ends(plain)]:
        later = _fitting(plain[start : start + MAX_META + 2])
        if has_phrase(later, keyword) and len(later) >= _LEAST_META:
            return later
    return first


def _fitting(plain: str) -> str:
    if len(plain) <= MAX_META:
        return plain
    fitting = [end for end in sentence_ends(plain[: MAX_META + 2]) if end <= MAX_META]
    if fitting:
        return plain[: fitting[-1]]
    head = plain[:MAX_META]
    return (head.rpartition(" ")[0] or head[:-1]).rstrip(" ,;:-\u2013\u2014") + "\u2026"


def plain_text(markdown: str) -> str:
    """The prose of Markdown on one line: no headings, pictures, code blocks or markup."""
    tokens = MarkdownIt("commonmark").parse(markdown)
    parts: list[str] = []
    in_heading = False
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            in_heading = token.type == "heading_open"
        elif token.type == "inline" and not in_heading:
            parts.append(_inline_text(token.children or []))
    return " ".join(" ".join(parts).split())


def _inline_text(tokens: Sequence[Token]) -> str:
    texts = {"text", "text_special", "code_inline"}
    return "".join(
        token.content if token.type in texts else " " if token.type.endswith("break") else ""
        for token in tokens
    )
