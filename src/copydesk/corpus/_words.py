"""Cleaning text, and the one definition of a word that every count and comparison uses.

Every pattern here is linear in the length of the text: it reads what strangers wrote.
"""

import itertools
import re
import string
import unicodedata
from collections.abc import Iterator
from typing import Final

from copydesk.corpus._characters import UNSPACED
from copydesk.corpus._kernels import load_kernels

# Control characters other than tab and newline, and byte-order marks inside the text.
_INVISIBLE: Final = dict.fromkeys(
    [c for c in range(0xA0) if unicodedata.category(chr(c)) == "Cc" and chr(c) not in "\t\n"]
    + [0xFEFF]
)
# The same for bytes, where looking costs a tenth: C0 and DEL, then C1 and the mark.
_CONTROLS: Final = bytes(c for c in (*range(0x20), 0x7F) if chr(c) not in "\t\n")
_RARE_CONTROLS: Final = re.compile(b"\xc2[\x80-\x9f]|\xef\xbb\xbf|\xe2\x80[\xa8\xa9]")
_HIGH_LEADS: Final = bytes(range(0xCC, 0xF5))
# All combining marks are above this: a cheap sign that a run of them may be there.
_MAYBE_MARKS: Final = re.compile("[\u0300-\U0010ffff]{31,}")
_MOST_MARKS: Final = 30
_HEADING: Final = re.compile(r"(#{1,6})[ \t]+(\S.*)")
# One level of parentheses inside the target, as in `.../Rust_(language)`.
_LINK_TARGET: Final = re.compile(r"\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)")
_ADDRESS: Final = re.compile(r"(?:https?://|www\.)[^\s<>()\[\]]+")
_TAG: Final = re.compile(r"</?[A-Za-z!][^<>\n]*>")
_SIGNS_OF_MARKUP: Final = ("](", "<", "http", "www.")
_SURE_WORD: Final = re.compile(r"[A-Za-z0-9]\S*")
_DASHES: Final = re.compile("[\u2013\u2014\u2015\u2026|/]|--+")
_EDGES: Final = string.punctuation + "".join(
    map(chr, [0xA1, 0xAB, 0xB7, 0xBB, 0xBF, *range(0x2010, 0x2028), *range(0x2030, 0x205F)])
)


def clean_text(text: str) -> str:
    """Markdown in one spelling: `\\n` line ends, NFC, no control characters, no loose blanks.

    More than two blank lines become one. Two blanks at a line's end stay where they break a line.
    """
    if _is_tidy(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw.translate(None, _CONTROLS)) < len(raw) or _RARE_CONTROLS.search(raw):
        text = text.replace("\u2028", "\n").replace("\u2029", "\n\n").translate(_INVISIBLE)
    if len(raw) - len(raw.translate(None, _HIGH_LEADS)) > _MOST_MARKS:
        text = _MAYBE_MARKS.sub(_stream_safe, text)
    lines = unicodedata.normalize("NFC", text).split("\n")
    kept: list[str] = []
    blank = 0
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        bare = line.rstrip()
        if not bare:
            blank += 1
            continue
        kept.extend([""] * (1 if blank > 2 else blank))
        blank = 0
        kept.append(f"{bare}  " if line.endswith("  ") and following.strip() else bare)
    return "\n".join(kept).strip()


def _is_tidy(text: str) -> bool:
    """Whether nothing is to be done, as far as that can be told at once."""
    if text.isascii() and text.isprintable():
        return text == text.strip()
    kernels = load_kernels()
    if kernels is None or not unicodedata.is_normalized("NFC", text):
        return False
    try:
        return kernels.is_tidy(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _stream_safe(run: re.Match[str]) -> str:
    """Keep 30 marks on a letter (UAX #15): the time to sort them grows with their square."""
    kept: list[str] = []
    marks = 0
    for character in run[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def clean_line(text: str) -> str:
    """`clean_text` on one line: every run of white space is one blank."""
    return " ".join(clean_text(text).split())


def prose_lines(text: str) -> Iterator[str]:
    """The lines outside fenced code. A fence never closed runs to the end, or the quote's."""
    fence, quoted = "", False
    for line in text.split("\n"):
        in_quote = line.lstrip().startswith(">")
        if fence and quoted and not in_quote:
            fence = ""
        marks, rest = _fence(line)
        if fence:
            if marks.startswith(fence) and not rest:
                fence = ""
        elif marks:
            fence, quoted = marks, in_quote
        else:
            yield line


def _fence(line: str) -> tuple[str, str]:
    """(marks, what follows) of a line that opens or closes code; empty marks otherwise."""
    bare = line.lstrip(" \t>")
    rest = bare.lstrip(bare[:1]) if bare[:1] in ("`", "~") else bare
    marks = bare[: len(bare) - len(rest)]
    # CommonMark: what holds a backtick after its backticks is a span of code, not a fence.
    if len(marks) < 3 or (marks[0] == "`" and "`" in rest):
        return "", ""
    return marks, rest.strip()


def headings(text: str) -> Iterator[tuple[int, str]]:
    """(level, words) of each `#` heading outside code."""
    for line in prose_lines(text):
        found = _HEADING.match(line)
        if found:
            yield len(found[1]), found[2].rstrip().rstrip("#").rstrip()


def plain(text: str) -> str:
    """Markdown without link targets, bare addresses, tags and the marks around words."""
    return _TAG.sub(" ", _ADDRESS.sub(" ", _LINK_TARGET.sub("] ", text)))


def prose_words(text: str) -> list[str]:
    """The words of the prose in order, without the punctuation around them.

    A word is what stands between blanks or dashes and holds a letter or a digit. Code blocks,
    link targets, addresses and tags hold none.
    """
    return list(_each_word(text))


def _each_word(text: str) -> Iterator[str]:
    spaced = spaced_out(_DASHES.sub(" ", plain("\n".join(prose_lines(text)))))
    for word in spaced.split():
        stripped = word.strip(_EDGES)
        if stripped.isalnum() or any(map(str.isalnum, stripped)):
            yield stripped


def spaced_out(text: str) -> str:
    """`text` with blanks around each character of a script that is written without them."""
    return UNSPACED.sub(r" \g<0> ", text)


def has_words(text: str, fewest: int) -> bool:
    """Whether `text` has so many words of prose; of a long text its start tells."""
    start = text[: 40 * fewest].rpartition("\n")[0]
    if _holds_surely(start, fewest):
        return True
    return _holds(start, fewest) or _holds(text, fewest)


def _holds_surely(text: str, fewest: int) -> bool:
    """Whether lines without anything to take out hold so many words, between blanks alone."""
    if "```" in text or "~~~" in text:
        return False
    found = 0
    for line in text.split("\n"):
        if not any(sign in line for sign in _SIGNS_OF_MARKUP):
            found += len(_SURE_WORD.findall(line))
            if found >= fewest:
                return True
    return False


def _holds(text: str, fewest: int) -> bool:
    return sum(1 for _ in itertools.islice(_each_word(text), fewest)) >= fewest


def word_count(text: str) -> int:
    """Words of prose in Markdown `text`."""
    return len(prose_words(text))


def shingles(text: str, n: int = 5) -> frozenset[str]:
    """All runs of `n` words, case folded and joined by blanks.

    A text of fewer words has one shingle, all of it; a text without words has none.
    """
    words = [word.casefold() for word in prose_words(text)]
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))


def slug(text: str, longest: int = 60) -> str:
    """Lower-case ASCII words joined by hyphens; empty where the text has none."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")[:longest].strip("-")
