"""Whether a heading is in sentence case, title case or lower case."""

import re
from collections.abc import Collection, Iterator

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
# What title case leaves small, as AP and Chicago agree: articles, short conjunctions, prepositions.
_SMALL_WORDS = """
a an and as at but by for from if in into nor of off on onto or over per so than the to up via
vs with yet
"""
_SMALL = frozenset(_SMALL_WORDS.split())
_AFTER_A_STOP = re.compile(r"[:.!?\u2014\u2013]\s*[\"'\u201c\u2018(]?$")


def in_title_case(heading: str, exceptions: Collection[str] = ()) -> bool:
    """Whether every word but articles, conjunctions and prepositions starts with a capital."""
    words = list(_WORD.finditer(heading))
    for at, match in enumerate(words):
        word = match.group()
        small = word.lower() in _SMALL and 0 < at < len(words) - 1
        if not (word[0].isupper() or small or word.lower() in exceptions):
            return False
    return True


def in_sentence_case(heading: str, exceptions: Collection[str] = ()) -> bool:
    """Whether only the first word, names and short forms have capitals.

    A name cannot be told from a capital that is wrong, so one capital in the middle passes where
    others are small: at most a third of the later words may have one.
    """
    words = list(_WORD.finditer(heading))
    if not words:
        return True
    first = words[0].group()
    if first.islower() and first not in exceptions and heading.lstrip().startswith(first):
        return False
    later = [match for match in words[1:] if not _starts_anew(heading, match)]
    capitals = [
        match
        for match in later
        if match.group()[0].isupper()
        and not (match.group().isupper() and len(match.group()) <= 5)
        and match.group().lower() not in exceptions
    ]
    return len(capitals) * 3 <= len(later)


def in_lower_case(heading: str, exceptions: Collection[str] = ()) -> bool:
    """Whether no word has a capital."""
    return all(word == word.lower() or word.lower() in exceptions for word in _words(heading))


def _words(heading: str) -> Iterator[str]:
    return (match.group() for match in _WORD.finditer(heading))


def _starts_anew(heading: str, match: re.Match[str]) -> bool:
    """Whether the word follows a colon, a dash or a sentence's end."""
    return _AFTER_A_STOP.search(heading[: match.start()]) is not None
