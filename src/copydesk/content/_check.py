"""All checks of one draft, each a rule with its source; offline."""

from collections.abc import Iterator

from copydesk.content._folding import Folded
from copydesk.content._limits import DEFAULT_LIMITS, CheckLimits
from copydesk.content._originality import TrainingIndex
from copydesk.content._repetition import repetition_findings
from copydesk.content._search import keyword_findings
from copydesk.content._style import GUIDE_SOURCE, style_findings
from copydesk.corpus import word_count
from copydesk.records import Brief, Finding, Severity, StyleGuide

NO_GUIDE = StyleGuide()


def check(
    text: str,
    *,
    title: str | None = None,
    brief: Brief | None = None,
    guide: StyleGuide = NO_GUIDE,
    index: TrainingIndex | None = None,
    limits: CheckLimits = DEFAULT_LIMITS,
) -> tuple[Finding, ...]:
    """What can be said against a draft, in the order of the text.

    A rule whose standard is not given (no brief, no guide, no index) says nothing.

    Args:
        text: the draft in Markdown, without its title; findings' spans are in its characters.
        title: the draft's title; the brief's where left out.
        brief: what was asked for: its length, keyword and format.
        guide: the client's style guide.
        index: the client's training pages, for what the draft copies from them.
        limits: where the rules begin to warn.
    """
    folded = Folded(text)
    if title is None and brief is not None:
        title = brief.title
    findings = [
        *_length_findings(text, brief, guide, limits),
        *style_findings(folded, title=title, guide=guide),
        *repetition_findings(folded, limits=limits),
    ]
    if brief is not None and brief.keyword:
        findings += keyword_findings(folded, title=title, keyword=brief.keyword)
    if index is not None:
        findings += _originality_findings(text, index, limits)
    return in_order(findings)


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Findings by where they start, then by rule."""
    return tuple(sorted(findings, key=lambda f: (f.start, f.rule, f.end, f.message)))


def _length_findings(
    text: str, brief: Brief | None, guide: StyleGuide, limits: CheckLimits
) -> Iterator[Finding]:
    if brief is None:
        return
    if brief.length is not None:
        slack = brief.length * limits.length_tolerance
        margin = brief.length * limits.length_error
        least, most = brief.length - slack, brief.length + slack
        least_error, most_error = least - margin, most + margin
        wanted, source = f"the brief asks for about {brief.length:,}", "brief"
    elif brief.format in guide.length:
        least, most = guide.length[brief.format]
        least_error = least * (1 - limits.length_error)
        most_error = most * (1 + limits.length_error)
        wanted = f"the client's {brief.format} pages have {least:,} to {most:,}"
        source = GUIDE_SOURCE
    else:
        return
    words = word_count(text)
    if least <= words <= most:
        return
    step = "Add what is missing." if words < least else "Shorten it."
    yield Finding(
        family="length",
        rule="words",
        severity="warning" if least_error <= words <= most_error else "error",
        start=0,
        end=0,
        message=f"The draft has {words:,} words; {wanted}. {step}",
        source=source,
    )


def _originality_findings(
    text: str, index: TrainingIndex, limits: CheckLimits
) -> Iterator[Finding]:
    for run in index.runs(text, at_least=limits.verbatim_warning):
        severity: Severity = "error" if run.words >= limits.verbatim_error else "warning"
        yield Finding(
            family="originality",
            rule="verbatim-run",
            severity=severity,
            start=run.start,
            end=run.end,
            message=(
                f"These {run.words} words stand in the same order in the training page"
                f' "{run.document}". Rewrite them, or quote the page on purpose.'
            ),
            source=f"the client's training pages: {limits.verbatim_warning} words in a row or more",
        )
