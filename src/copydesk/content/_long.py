"""Long pieces: an outline, then its sections, each with outline and what was said in view."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from copydesk.content._folding import fold_words
from copydesk.content._meta import plain_text
from copydesk.content._prompts import outline_messages, section_messages, title_messages
from copydesk.content._sentences import sentence_ends
from copydesk.content._tidy import tidy
from copydesk.records import Brief, Completer, Sampling

LONG_WORDS: Final = 700
"""From so many words a page is written in sections: about what 1,100 new tokens hold, half of a
small base's context window of 2,048 with the brief beside it."""
_SECTION_WORDS: Final = 220
"""Below the 300 words that may stand without a subheading."""
_MOST_SECTIONS: Final = 12
_TOKENS_A_WORD: Final = 1.6
_SAID_WORDS: Final = 25
"""Of each section before: its first sentence, cut to so many words."""
_MARKER: Final = re.compile(r"^[\s#>*\-\u2022]*(?:\d{1,2}[.):]\s*)?[*_\"]*|[*_\"\s:.]+$")
_TITLE_TOKENS: Final = 40


def is_long(brief: Brief) -> bool:
    """Whether the page is to be written in sections."""
    wanted = brief.length or (sum(brief.length_range) // 2 if brief.length_range else 0)
    return wanted >= LONG_WORDS and brief.format not in ("product", "social")


def write_sections(
    brief: Brief,
    completer: Completer,
    sampling: Sampling,
    on_text: Callable[[str], None] | None,
) -> tuple[str, bool]:
    """A long page's text, and whether its last section was cut off.

    Args:
        brief: with a length of `LONG_WORDS` or more.
        completer: the model.
        sampling: for each call; only its length is changed.
        on_text: receives headings and text as they come.
    """
    wanted = brief.length or sum(brief.length_range or (LONG_WORDS, LONG_WORDS)) // 2
    headings = brief.outline or outline(brief, completer, sampling, words=wanted)
    each = max(60, wanted // len(headings))
    bounded = replace(sampling, max_new_tokens=round(each * 1.25 * _TOKENS_A_WORD))
    parts: list[str] = []
    said: list[str] = []
    cut_off = False
    for heading in headings:
        if on_text:
            on_text(f"\n\n## {heading}\n\n" if parts else f"## {heading}\n\n")
        messages = section_messages(
            brief, heading=heading, outline=headings, said=" / ".join(said), words=each
        )
        completion = completer.complete(messages, bounded, on_text)
        cut_off = completion.finish_reason == "length"
        text = tidy(completion.text, title=heading, cut_off=cut_off)
        text = tidy(text, title=f"{brief.title}: {heading}", cut_off=False)
        if text:
            parts.append(f"## {heading}\n\n{text}")
            said.append(f"{heading}: {_opening(text)}")
    return "\n\n".join(parts), cut_off


def outline(
    brief: Brief, completer: Completer, sampling: Sampling, *, words: int
) -> tuple[str, ...]:
    """Headings that the model gives, the brief's points where it gives fewer than two."""
    sections = max(2, min(_MOST_SECTIONS, round(words / _SECTION_WORDS)))
    asked = replace(sampling, max_new_tokens=sections * 16)
    completion = completer.complete(outline_messages(brief, sections=sections), asked, None)
    found: dict[str, str] = {}
    for line in completion.text.splitlines():
        heading = _MARKER.sub("", line).strip()
        key = " ".join(fold_words(heading))
        # Prose, not a heading.
        if (
            key
            and key not in found
            and len(heading) <= 80
            and key != " ".join(fold_words(brief.title))
        ):
            found[key] = heading
    headings = tuple(found.values())[:sections]
    if len(headings) < 2:
        headings = tuple(_short(point) for point in brief.points)[:sections] or (brief.title,)
    return headings


def titled(brief: Brief, completer: Completer, sampling: Sampling) -> Brief:
    """The brief with a title: its own, or the model's first line, or the keyword."""
    if brief.title:
        return brief
    asked = replace(sampling, max_new_tokens=_TITLE_TOKENS)
    completion = completer.complete(title_messages(brief), asked, None)
    lines = [_MARKER.sub("", line) for line in completion.text.splitlines()]
    said = next((line.removeprefix("Title:").strip(' "*') for line in lines if line.strip()), "")
    keyword = brief.keyword or ""
    usable = 3 <= len(said) <= 100 and said.isprintable()
    return replace(brief, title=said if usable else keyword[:1].upper() + keyword[1:])


def _opening(text: str) -> str:
    plain = plain_text(text)
    first = plain[: next(sentence_ends(plain), len(plain))]
    return " ".join(first.split()[:_SAID_WORDS])


def _short(point: str) -> str:
    """A point as a heading: its first clause."""
    clause = re.split(r"[.;:,]\s", point)[0].rstrip(".")
    return " ".join(clause.split()[:8])
