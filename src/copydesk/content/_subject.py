"""What a check looks at: the draft, what it was to be, and what is known beside it.

The parts of a text (words, sentences, headings, links) are worked out once, when first asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from copydesk.content._folding import Folded, Word
from copydesk.content._language import language_of
from copydesk.content._originality import TrainingIndex
from copydesk.content._rules import Rule, RuleBook
from copydesk.content._sentences import blocks, is_heading, is_item, sentences
from copydesk.content._shingles import ShingleIndex
from copydesk.content._vale import ValeRule
from copydesk.records import Brief, Finding, Severity, StyleGuide

Span = tuple[int, int]
WHOLE: Span = (0, 0)
"""The span of a finding that is about the draft as a whole."""

_FENCED = re.compile(r"^[ \t]{0,3}(```+|~~~+)[^\n]*\n(?:.*?\n)??[ \t]{0,3}\1[^\n]*$", re.M | re.S)
_CODE = re.compile(r"(?<!`)(`{1,3})(?!`)[^`\n]+\1(?!`)")
_TAG = re.compile(r"<!--[^>]{0,2000}?-->|</?[A-Za-z][^<>\n]{0,500}>")
_IMAGE = re.compile(r"!\[([^\[\]\n]*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)[^()\n]*\)")
_LINK = re.compile(r"(?<!!)\[([^\[\]\n]+)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)[^()\n]*\)")
_BARE = re.compile(r"(?<![(\w])https?://[^\s<>)\]]+")
_HEADING = re.compile(r"^[ \t]{0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading of the text."""

    level: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A link or picture: its place, words and address."""

    start: int
    end: int
    text: str
    url: str


class Subject:
    """A draft with all that checks may want to know."""

    def __init__(
        self,
        text: str,
        *,
        title: str | None,
        slug: str | None,
        meta_description: str | None,
        brief: Brief | None,
        guide: StyleGuide,
        rules: RuleBook,
        index: TrainingIndex | None,
        others: Sequence[ShingleIndex],
        styles: Sequence[ValeRule],
    ) -> None:
        """Use `check`."""
        self.text = text
        self.title = title
        self.slug = slug
        self.meta_description = meta_description
        self.brief = brief
        self.guide = guide
        self.index = index
        self.others = tuple(others)
        self.styles = tuple(styles)
        self._rules = rules

    @property
    def format(self) -> str | None:
        """The brief's format; None without a brief."""
        return self.brief.format if self.brief else None

    def rule(self, name: str) -> Rule | None:
        """The rule, where it is on and about drafts of this format."""
        rule = self._rules.rules.get(name)
        return rule if rule is not None and rule.is_about(self.format) else None

    def finding(
        self,
        rule: Rule,
        span: Span,
        message: str,
        *,
        severity: Severity | None = None,
        source: str | None = None,
        fact: str | None = None,
    ) -> Finding:
        """What a rule says of a span.

        Args:
            rule: whose severity, source and date the finding has.
            span: characters of the text; `WHOLE` for the draft itself.
            message: what is wrong and what to do, in a sentence or two.
            severity: in place of the rule's.
            source: in place of the rule's.
            fact: the brief's fact behind it.
        """
        family, _, name = rule.name.partition("/")
        return Finding(
            family=family,
            rule=name,
            severity=severity or rule.severity,
            start=span[0],
            end=span[1],
            message=message,
            source=source or rule.source,
            date=rule.date,
            fact=fact,
        )

    @cached_property
    def folded(self) -> Folded:
        """The text folded for comparison."""
        return Folded(self.text)

    @cached_property
    def words(self) -> list[Word]:
        """Folded words of the whole text with their places."""
        return self.folded.words()

    @cached_property
    def language(self) -> str | None:
        """ISO 639-1 code, where the text is long enough to tell."""
        return language_of(self.prose)

    @property
    def is_english(self) -> bool:
        """Whether rules of English grammar apply."""
        return self.language in (None, "en")

    @cached_property
    def prose(self) -> str:
        """The text with code, tags and addresses blanked out, every character in its place."""
        prose = self.text
        for pattern in (_FENCED, _CODE, _TAG, _BARE):
            if pattern is not _FENCED or "```" in prose or "~~~" in prose:
                prose = pattern.sub(_blank, prose)
        return _LINK.sub(_blank_address, _IMAGE.sub(_blank, prose))

    @cached_property
    def sentences(self) -> list[Span]:
        """Sentences and unfinished ones, without headings and tables."""
        prose = self.prose
        return [
            (start, end)
            for start, end in sentences(prose)
            if not is_heading(prose[start:end]) and prose[start] != "|"
        ]

    @cached_property
    def paragraphs(self) -> list[Span]:
        """Blocks of prose: no headings, lists, tables or code."""
        found: list[Span] = []
        for start, end in blocks(self.prose):
            while start < end and is_heading(self.prose[start:end]):
                line_end = self.prose.find("\n", start, end)
                start = end if line_end < 0 else line_end + 1
            if self.prose[start:end].strip() and not is_item(self.prose[start:end]):
                found.append((start, end))
        return found

    @cached_property
    def headings(self) -> list[Heading]:
        """Headings with `#`, in order."""
        return [
            Heading(
                level=len(m.group(1)),
                start=m.start(2),
                end=m.end(2),
                text=self.text[slice(*m.span(2))],
            )
            for m in _HEADING.finditer(self.prose)
            if m.group(2)
        ]

    @cached_property
    def links(self) -> list[Reference]:
        """Markdown links and bare addresses, in order."""
        named = [_reference(m) for m in _LINK.finditer(self.text)]
        bare = [
            Reference(start=m.start(), end=m.end(), text="", url=m.group().rstrip(".,;:!?"))
            for m in _BARE.finditer(self.text)
        ]
        return sorted([*named, *bare], key=lambda link: link.start)

    @cached_property
    def images(self) -> list[Reference]:
        """Pictures, in order."""
        return [_reference(m) for m in _IMAGE.finditer(self.text)]

    def words_in(self, span: Span) -> list[str]:
        """The folded words of a span of the text."""
        start, end = span
        low, high = self._word_at(start), self._word_at(end)
        return [word.text for word in self.words[low:high]]

    def _word_at(self, place: int) -> int:
        """Index of the first word that starts at or after a place."""
        low, high = 0, len(self.words)
        while low < high:
            middle = (low + high) // 2
            if self.words[middle].start < place:
                low = middle + 1
            else:
                high = middle
        return low


def _reference(match: re.Match[str]) -> Reference:
    return Reference(
        start=match.start(), end=match.end(), text=match.group(1).strip(), url=match.group(2)
    )


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match.group())


def _blank_address(match: re.Match[str]) -> str:
    """A link's words stay, its brackets and address go."""
    whole, words = match.group(), match.group(1)
    return " " + words + " " * (len(whole) - len(words) - 1)
