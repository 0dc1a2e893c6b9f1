"""Where sentences and paragraphs begin and end in Markdown."""

import re
from collections.abc import Iterator

_CLOSERS = "\"'\u201d\u2019)\\]*_"
# A stop, whatever closes with it, and then space or the end.
_SENTENCE_END = re.compile(
    rf"(?<![.!?\u2026])[.!?\u2026\u3002\uff01\uff1f]++[{_CLOSERS}]*+(?=\s|$)"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?i:e\.g|i\.e|mr|mrs|ms|dr|st|vs|cf|approx|inc|ltd)|\b[A-HJ-Z]|^\s*\d{1,3})\.$"
)
_LONGEST_ABBREVIATION = 12
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_HEADING = re.compile(r"\s{0,3}#{1,6}(?:\s|$)")
_LINE_ITEM = re.compile(r"[ \t]{0,8}(?:[-*+]|\d{1,3}[.)])[ \t]|[ \t]{0,3}#{1,6}[ \t]|[ \t]*\|")
_RULE = re.compile(r"\s{0,3}(?:[-*_]\s*){3,}$|\s{0,3}[=-]{2,}\s*$")


def sentence_ends(text: str) -> Iterator[int]:
    """Positions just past each finished sentence, in order."""
    for match in _SENTENCE_END.finditer(text):
        stop = match.start()
        near = max(0, stop - _LONGEST_ABBREVIATION)
        before = text[max(near, text.rfind("\n", near, stop) + 1) : stop + 1]
        if not (before.endswith(".") and _ABBREVIATION.search(before)):
            yield match.end()


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Spans of sentences, unfinished ones too. A blank line or list item ends one as well."""
    for block_start, block_end in blocks(text):
        for line_start, line_end in _pieces(text, block_start, block_end):
            start = line_start
            piece = text[line_start:line_end]
            for end in [line_start + at for at in sentence_ends(piece)] + [line_end]:
                if text[start:end].strip():
                    yield _trimmed(text, start, end)
                start = end


def blocks(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the stretches between blank lines, without the blanks around them."""
    start = 0
    for gap in [match.span() for match in _BLANK_LINES.finditer(text)] + [(len(text), len(text))]:
        if text[start : gap[0]].strip():
            yield _trimmed(text, start, gap[0])
        start = gap[1]


def first_paragraph(text: str) -> tuple[int, int] | None:
    """Span of the first block of prose: headings, rules and lone pictures are passed over."""
    for start, end in blocks(text):
        while start < end:
            line_end = text.find("\n", start, end)
            line_end = end if line_end < 0 else line_end
            if not _is_furniture(text[start:line_end]):
                return start, end
            start = line_end + 1
    return None


def is_heading(line: str) -> bool:
    """Whether a line is a Markdown heading."""
    return _HEADING.match(line) is not None


def is_item(line: str) -> bool:
    """Whether a line stands by itself: a list item, a heading or a table's row."""
    return _LINE_ITEM.match(line) is not None


def _is_furniture(line: str) -> bool:
    stripped = line.strip()
    picture = stripped.startswith("![") and stripped.endswith(")")
    return not stripped or picture or is_heading(line) or _RULE.match(line) is not None


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A block cut where lines stand by themselves; wrapped lines stay together."""
    piece_start, at = start, start
    after_heading = False
    for line in text[start:end].split("\n"):
        if at > piece_start and (is_item(line) or after_heading):
            yield piece_start, at
            piece_start = at
        after_heading = is_heading(line)
        at += len(line) + 1
    if piece_start < end:
        yield piece_start, end


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
