"""The length that the brief or the client's guide asks for."""

from collections.abc import Iterator

from copydesk.content._subject import WHOLE, Subject
from copydesk.corpus import word_count
from copydesk.records import Finding


def length_findings(subject: Subject) -> Iterator[Finding]:
    """Too few or too many words for the brief's range, its aim, or the client's range."""
    brief, guide, rule = subject.brief, subject.guide, subject.rule("length/words")
    if brief is None or rule is None:
        return
    source = rule.source
    if brief.length_range is not None:
        least, most = brief.length_range
        least_error, most_error = _beyond(least, most, rule.number("error"))
        wanted = f"the brief asks for {least:,} to {most:,}"
    elif brief.length is not None:
        slack = brief.length * rule.number("tolerance")
        margin = brief.length * rule.number("error")
        least, most = brief.length - slack, brief.length + slack
        least_error, most_error = least - margin, most + margin
        wanted = f"the brief asks for about {brief.length:,}"
    elif brief.format in guide.length:
        least, most = guide.length[brief.format]
        least_error, most_error = _beyond(least, most, rule.number("error"))
        wanted = f"the client's {brief.format} pages have {least:,} to {most:,}"
        source = "client style guide"
    else:
        return
    words = word_count(subject.text)
    if least <= words <= most:
        return
    step = "Add what is missing." if words < least else "Shorten it."
    yield subject.finding(
        rule,
        WHOLE,
        f"The draft has {words:,} words; {wanted}. {step}",
        severity="warning" if least_error <= words <= most_error else rule.severity,
        source=source,
    )


def _beyond(least: int, most: int, share: float) -> tuple[float, float]:
    """Where a range is missed by so much that it is an error."""
    return least * (1 - share), most * (1 + share)
