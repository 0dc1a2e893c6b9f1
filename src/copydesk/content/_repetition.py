"""Loops: a model that lost the thread says the same words again and again."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from copydesk.content._folding import Word
from copydesk.content._rules import Rule
from copydesk.content._sentences import sentences
from copydesk.content._subject import Subject
from copydesk.records import Finding

_QUOTED_WORDS = 8


def repetition_findings(subject: Subject) -> Iterator[Finding]:
    """One finding for each stretch that repeats what was said, the first time left out."""
    rule = subject.rule("repetition/loop")
    if rule is None:
        return
    words = subject.words
    times = [0] * len(words)
    """How often what the word is part of stands in the draft; 0 for what need not go."""
    for places, width in _repeated(subject.text, words, rule):
        for at in places[1:]:
            for position in range(at, at + width):
                times[position] = max(times[position], len(places))
    share = sum(1 for count in times if count) / max(1, len(words))
    for repeated, positions in groupby(range(len(words)), key=lambda at: times[at] > 0):
        if repeated:
            stretch = list(positions)
            yield _finding(
                subject,
                rule,
                [words[at] for at in stretch],
                count=max(times[at] for at in stretch),
                severe=share > rule.number("error_share"),
            )


def _repeated(text: str, words: Sequence[Word], rule: Rule) -> Iterator[tuple[list[int], int]]:
    """Word positions of each sequence or sentence that stands there too often, and its length."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    width = int(rule.number("words"))
    said = [word.text for word in words]
    for at in range(len(words) - width + 1):
        places[tuple(said[at : at + width])].append(at)
    for at, end in _sentence_words(text, words):
        # A sentence as long as a sequence has been counted as one.
        if rule.number("sentence_words") <= end - at != width:
            places[tuple(said[at:end])].append(at)
    for sequence, starts in places.items():
        if len(starts) >= rule.number("times"):
            yield starts, len(sequence)


def _sentence_words(text: str, words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Each sentence as a range of word positions."""
    at = 0
    for start, end in sentences(text):
        while at < len(words) and words[at].start < start:
            at += 1
        first = at
        while at < len(words) and words[at].end <= end:
            at += 1
        if at > first:
            yield first, at


def _finding(
    subject: Subject, rule: Rule, stretch: Sequence[Word], *, count: int, severe: bool
) -> Finding:
    start, end = stretch[0].start, stretch[-1].end
    quoted = " ".join(subject.text[start : stretch[:_QUOTED_WORDS][-1].end].split())
    more = " ..." if len(stretch) > _QUOTED_WORDS else ""
    message = (
        f'"{quoted}{more}" repeats what the draft says {count} times.'
        " Keep the first and cut the rest."
    )
    severity = rule.severity if severe else "warning"
    return subject.finding(rule, (start, end), message, severity=severity)
