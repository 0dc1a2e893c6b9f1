"""Experience, expertise, authority, trust: is the brief's evidence used, and is none made up?"""

import re
from collections.abc import Iterator
from typing import Final

from copydesk.content._folding import fold, fold_words
from copydesk.content._phrases import share_of_words
from copydesk.content._subject import WHOLE, Subject
from copydesk.records import Brief, Fact, Finding

_NAME: Final = (
    r"(?:(?:Dr|Prof|Mr|Mrs|Ms)\.?[ \t]+)?[A-Z][\w'\u2019-]+(?:[ \t]+[A-Z][\w'\u2019.-]+){0,3}"
)
_BYLINE: Final = re.compile(
    rf"^[*_ \t]*(?:[Ww]ritten[ \t]+[Bb]y|[Bb]y|[Aa]uthor:|[Rr]eviewed[ \t]+by)[ "
    rf"\t]+({_NAME})[*_ \t.]*$",
    re.M,
)
_QUOTED: Final = re.compile(
    rf"\b(?:[Aa]ccording[ \t]+to|[Ss]ays|[Ss]aid|[Ss]tudy[ \t]+(?:by|from)|[Rr]esearch[ "
    rf"\t]+(?:by|from)"
    rf"|[Rr]eport(?:ed)?[ \t]+(?:by|from)|[Ss]urvey[ \t]+(?:by|from)|[Pp]ublished[ \t]+(?:by|in)"
    rf"|[Qq]uoted[ \t]+by)[ \t]+(?:the[ \t]+|a[ \t]+)?({_NAME})"
)
_NAMELESS: Final = re.compile(
    r"\b(?:studies|research|experts?|scientists|surveys?|doctors|data|science)[ \t]+"
    r"(?:ha(?:ve|s)[ \t]+(?:shown|found|proven?)|shows?|suggests?|says?|agree|prove[sn]?|confirms?"
    r"|recommends?)\b",
    re.IGNORECASE,
)
_FIRST_HAND: Final = re.compile(
    r"\b(?:(?:I|[Ww]e)(?:['\u2019]ve|[ \t]+have)?[ \t]+(?:\w+ly[ \t]+)?(?:tested|tried"
    r"|measured|weighed"
    r"|interviewed|visited|surveyed|compared|reviewed|timed|counted|tracked|analy[sz]ed"
    r"|spoke[ \t]+to"
    r"|spoke[ \t]+with|asked)|in[ \t]+(?:my|our)[ \t]+(?:experience|tests?|testing|lab"
    r"|trials?|own[ \t]+"
    r"(?:tests?|trials?))|(?:my|our)[ \t]+(?:customers|clients|readers)[ \t]+(?:tell|told"
    r"|say|said|report)"
    r"|(?:my|our)[ \t]+(?:tests?|trials?|survey|research|data)[ \t]+(?:show|found|suggest"
    r"|prove)\w*)\b",
    re.IGNORECASE,
)


def evidence_findings(subject: Subject) -> Iterator[Finding]:
    """Evidence of the brief's that is not used, and evidence that the brief does not have."""
    brief = subject.brief
    if brief is None:
        return
    known = fold(_all_of(brief))
    yield from _author(subject, brief, known)
    yield from _sources(subject, brief, known)
    yield from _experience(subject, brief)


def _all_of(brief: Brief) -> str:
    """All words of a brief on one line."""
    return " ".join(
        [
            brief.title,
            brief.keyword or "",
            brief.author or "",
            *brief.points,
            *brief.keywords,
            *brief.outline,
            *brief.experience,
            *(f"{fact.text} {fact.source or ''}" for fact in brief.facts),
            *(link.text for link in brief.links),
            brief.call_to_action or "",
        ]
    )


def _author(subject: Subject, brief: Brief, known: str) -> Iterator[Finding]:
    rule = subject.rule("evidence/author")
    if rule and brief.author is None:
        message = "The brief names no author. Say in it who stands behind the page."
        yield subject.finding(rule, WHOLE, message)
    rule = subject.rule("evidence/invented-author")
    for match in _BYLINE.finditer(subject.prose) if rule else ():
        if rule and not _names_known(match.group(1), known):
            message = f'The brief does not name "{match.group(1)}" as author. Take it out.'
            yield subject.finding(rule, match.span(1), message)


def _sources(subject: Subject, brief: Brief, known: str) -> Iterator[Finding]:
    rule = subject.rule("evidence/source-unnamed")
    urls = {link.url.rstrip("/") for link in subject.links}
    for fact in brief.facts if rule else ():
        if rule and fact.source and _is_told(subject, fact) and not _is_named(subject, fact, urls):
            message = f"The draft tells a fact of {fact.source} without naming it. Name or link it."
            yield subject.finding(rule, WHOLE, message, fact=fact.text)
    rule = subject.rule("evidence/invented-source")
    if rule is None:
        return
    allowed = {link.url.rstrip("/") for link in brief.links} | {
        fact.source.rstrip("/") for fact in brief.facts if fact.source
    }
    for link in subject.links:
        if link.url.startswith(("http://", "https://")) and link.url.rstrip("/") not in allowed:
            message = f"The brief does not have the address {link.url}. Does it exist?"
            yield subject.finding(rule, (link.start, link.end), message, severity="warning")
    for match in _QUOTED.finditer(subject.prose):
        if not _names_known(match.group(1), known):
            message = f'The brief has no source "{match.group(1)}". Add it there, or take it out.'
            yield subject.finding(rule, match.span(), message)
    if not any(fact.source for fact in brief.facts):
        for match in _NAMELESS.finditer(subject.prose):
            message = (
                f'"{match.group()}" points to no source of the brief. Name one, or take it out.'
            )
            yield subject.finding(rule, match.span(), message)


def _is_told(subject: Subject, fact: Fact) -> bool:
    """Whether the draft tells a fact: most of its content words are there."""
    return share_of_words(subject.text, fact.text) >= 0.7


def _is_named(subject: Subject, fact: Fact, urls: set[str]) -> bool:
    source = fact.source or ""
    if source.startswith(("http://", "https://")):
        return source.rstrip("/") in urls
    return share_of_words(subject.text, source) >= 0.7


def _names_known(name: str, known: str) -> bool:
    """Whether the last word of a name is in the brief: a surname, or an institute's own word."""
    words = fold_words(name)
    return all(word in known for word in words if len(word) > 3) if words else True


def _experience(subject: Subject, brief: Brief) -> Iterator[Finding]:
    rule = subject.rule("evidence/experience-unused")
    for detail in brief.experience if rule else ():
        if rule and share_of_words(subject.text, detail) < rule.number("least_share"):
            message = f'The first-hand detail "{detail}" is not used. It is what others lack.'
            yield subject.finding(rule, WHOLE, message, fact=detail)
    rule = subject.rule("evidence/invented-experience")
    grounds = [*brief.experience, *brief.points, *(fact.text for fact in brief.facts)]
    for start, end in subject.sentences if rule else ():
        match = _FIRST_HAND.search(subject.prose, start, end)
        sentence = subject.prose[start:end]
        if rule and match and not any(_supports(ground, sentence) for ground in grounds):
            message = (
                f'"{match.group()}" tells of first-hand experience that the brief does not have.'
                " Add it to the brief if it is true; take it out if not."
            )
            yield subject.finding(rule, match.span(), message)


def _supports(ground: str, sentence: str) -> bool:
    """Whether a detail of the brief is what the sentence tells: half of its words are there."""
    return share_of_words(sentence, ground) >= 0.5
