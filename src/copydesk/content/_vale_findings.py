"""What Vale's rules say of a draft."""

import re
from collections.abc import Iterator

from copydesk.content._case import in_lower_case, in_sentence_case, in_title_case
from copydesk.content._subject import Span, Subject
from copydesk.content._vale import ValeRule
from copydesk.records import Finding

_WORDS = re.compile(r"\S+")


def vale_findings(subject: Subject) -> Iterator[Finding]:
    """Findings of all Vale rules, each in the places of its scope."""
    for rule in subject.styles:
        for span in _places(subject, rule):
            yield from _of_span(subject, rule, span)


def _places(subject: Subject, rule: ValeRule) -> list[Span]:
    match rule.scope:
        case "heading":
            return [(heading.start, heading.end) for heading in subject.headings]
        case "sentence":
            return subject.sentences
        case "paragraph":
            return subject.paragraphs
        case "text":
            return [(0, len(subject.text))]


def _of_span(subject: Subject, rule: ValeRule, span: Span) -> Iterator[Finding]:
    prose = subject.prose
    match rule.kind:
        case "existence":
            for match in rule.pattern.finditer(prose, *span):
                if match.group() and match.group().lower() not in rule.exceptions:
                    yield _finding(rule, match.span(), match.group())
        case "substitution":
            yield from _swapped(prose, rule, span)
        case "occurrence":
            count = sum(1 for _ in rule.pattern.finditer(prose, *span))
            too_few = rule.least is not None and count < rule.least
            if too_few or (rule.most is not None and count > rule.most):
                yield _finding(rule, span, str(count))
        case "capitalization":
            heading = subject.text[slice(*span)]
            if not _is_capitalized(heading, rule):
                yield _finding(rule, span, heading)
        case "repetition":
            yield from _repeated(prose, rule, span)
        case "consistency":
            yield from _mixed(prose, rule, span)


def _swapped(prose: str, rule: ValeRule, span: Span) -> Iterator[Finding]:
    for pattern, wanted in rule.swaps:
        for match in pattern.finditer(prose, *span):
            found = match.group()
            if found and found != wanted and found.lower() not in rule.exceptions:
                yield _finding(rule, match.span(), wanted, found)


def _mixed(prose: str, rule: ValeRule, span: Span) -> Iterator[Finding]:
    """Where the later of two spellings that exclude one another first stands."""
    for left, right in rule.either:
        first, second = left.search(prose, *span), right.search(prose, *span)
        if first and second:
            later = max(first, second, key=lambda match: match.start())
            yield _finding(rule, later.span(), later.group())


def _is_capitalized(heading: str, rule: ValeRule) -> bool:
    match rule.match:
        case "$title":
            return in_title_case(heading, rule.exceptions)
        case "$sentence":
            return in_sentence_case(heading, rule.exceptions)
        case "$lower":
            return in_lower_case(heading, rule.exceptions)
        case "$upper":
            return heading.upper() == heading
        case _:
            return rule.pattern.search(heading) is not None


def _repeated(prose: str, rule: ValeRule, span: Span) -> Iterator[Finding]:
    """The same token twice running, with nothing but space between."""
    before: re.Match[str] | None = None
    for match in rule.pattern.finditer(prose, *span):
        same = before is not None and before.group().lower() == match.group().lower()
        if before is not None and same and not prose[before.end() : match.start()].strip():
            yield _finding(rule, (before.start(), match.end()), match.group())
        before = match


def _finding(rule: ValeRule, span: Span, *found: str) -> Finding:
    message = rule.message
    for words in found:
        message = message.replace("%s", " ".join(words.split())[:80], 1)
    return Finding(
        family="style",
        rule=rule.name,
        severity=rule.severity,
        start=span[0],
        end=span[1],
        message=message,
        source=f"Vale style {rule.name}" + (f", {rule.link}" if rule.link else ""),
    )
