"""The client's style guide: words never to use, and terms with a better one."""

import re
from collections.abc import Iterator

from copydesk.content._folding import UNSPACED, Folded, fold
from copydesk.records import Finding, StyleGuide

GUIDE_SOURCE = "client style guide"

# Space, emphasis, a hyphen or one line break may stand between the words of a phrase.
_GAP = r"(?:[ \t*_~-]|\n(?![ \t]*\n))+"
_SPACED_LETTER = re.compile(rf"[^\W_{UNSPACED}]")
_NOT_AFTER_LETTER = r"(?<![^\W_])(?<![^\W_]')"
# "hack" is in "hack's" but "don" is not in "don't".
_NOT_BEFORE_LETTER = r"(?![^\W_]|[\u0300-\u036f]|'(?!s(?![^\W_]))[^\W_])"


def style_findings(folded: Folded, *, title: str | None, guide: StyleGuide) -> Iterator[Finding]:
    """Banned words and avoided terms, one finding for each place."""
    for entry in _distinct(guide.banned):
        todo = "The client's guide bans it: write it another way."
        for start, end in _places(folded, entry):
            used = " ".join(folded.original[start:end].split())
            yield _finding("banned-word", start, end, f'"{used}" is not to be used. {todo}')
        if title and _places(Folded(title), entry):
            yield _finding("banned-word", 0, 0, f'The title has "{entry}". {todo}')
    for avoided, wanted in guide.prefer.items():
        for start, end in _misplaced(folded, avoided, wanted):
            used = " ".join(folded.original[start:end].split())
            message = f'Instead of "{used}" use: {wanted}.'
            yield _finding("preferred-term", start, end, message)
        if title and _misplaced(Folded(title), avoided, wanted):
            message = f'The title has "{avoided}". Use instead: {wanted}.'
            yield _finding("preferred-term", 0, 0, message)


def _finding(rule: str, start: int, end: int, message: str) -> Finding:
    return Finding(
        family="style",
        rule=rule,
        severity="error" if rule == "banned-word" else "warning",
        start=start,
        end=end,
        message=message,
        source=GUIDE_SOURCE,
    )


def _distinct(entries: tuple[str, ...]) -> list[str]:
    """Entries without blanks and without those that differ only in case or apostrophes."""
    return list(
        {fold(entry).strip(): entry for entry in reversed(entries) if entry.strip()}.values()
    )


def _places(folded: Folded, term: str) -> list[tuple[int, int]]:
    """Spans, in the original, of a term as a whole word or phrase."""
    pattern = _term_pattern(term)
    if pattern is None:
        return []
    return [folded.span(*match.span()) for match in pattern.finditer(folded.text)]


def _misplaced(folded: Folded, avoided: str, wanted: str) -> list[tuple[int, int]]:
    """Spans of an avoided term, but where it is part of the wanted one.

    A term that differs from the wanted one in case only (`github`, `GitHub`) is right where it
    is written exactly so.
    """
    places = _places(folded, avoided)
    if fold(avoided).strip() == fold(wanted).strip():
        return [place for place in places if folded.original[slice(*place)] != wanted.strip()]
    right = _places(folded, wanted)
    return [
        (start, end)
        for start, end in places
        if not any(first <= start and end <= last for first, last in right)
    ]


def _term_pattern(term: str) -> re.Pattern[str] | None:
    words = fold(term).split()
    if not words:
        return None
    pattern = _GAP.join(re.escape(word) for word in words)
    before = _NOT_AFTER_LETTER if _SPACED_LETTER.match(words[0][0]) else ""
    after = _NOT_BEFORE_LETTER if _SPACED_LETTER.match(words[-1][-1]) else ""
    return re.compile(before + pattern + after)
