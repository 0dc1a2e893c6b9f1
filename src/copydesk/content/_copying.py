"""What a draft copies: from its client's training pages, search results and other clients' "
"pages."""

from collections.abc import Iterator

from copydesk.content._rules import Rule
from copydesk.content._shingles import SHINGLE_WORDS, ShingleIndex
from copydesk.content._subject import WHOLE, Subject
from copydesk.records import Finding, Severity


def originality_findings(subject: Subject) -> Iterator[Finding]:
    """Runs and shares of words that stand elsewhere in the same order.

    Of other clients' pages the finding says no more than that it is so: neither which client, nor
    a word beyond the draft's own.
    """
    yield from _training(subject)
    for index in subject.others:
        yield from _elsewhere(subject, index)


def _training(subject: Subject) -> Iterator[Finding]:
    index = subject.index
    if index is None:
        return
    rule = subject.rule("originality/verbatim-run")
    if rule:
        for run in index.runs(subject.text, at_least=int(rule.number("warn"))):
            message = (
                f"These {run.words} words stand in the same order in the training page"
                f' "{run.document}". Rewrite them, or quote the page on purpose.'
            )
            source = f"{rule.source}: {rule.number('warn'):.0f} words in a row or more"
            yield subject.finding(
                rule,
                (run.start, run.end),
                message,
                severity=_severity(rule, run.words),
                source=source,
            )
    rule = subject.rule("originality/training-share")
    if rule and len(subject.words) >= rule.number("least_words"):
        share = index.shared_share(subject.text, words=SHINGLE_WORDS)
        if share > rule.number("most"):
            yield subject.finding(rule, WHOLE, _share_message(share, "the client's training pages"))


def _elsewhere(subject: Subject, index: ShingleIndex) -> Iterator[Finding]:
    kind = index.kind
    whose = "a page of the search results" if kind == "searched" else "another client's page"
    run_rule = subject.rule(f"originality/{kind}-run")
    share_rule = subject.rule(f"originality/{kind}-share")
    share, runs = index.shared(subject.words) if run_rule or share_rule else (0.0, ())
    for run in runs:
        if run_rule and run.words >= run_rule.number("warn"):
            message = f"These {run.words} words stand in the same order in {whose}. Rewrite them."
            yield subject.finding(
                run_rule, (run.start, run.end), message, severity=_severity(run_rule, run.words)
            )
    long_enough = share_rule and len(subject.words) >= share_rule.number("least_words")
    if share_rule and long_enough and share > share_rule.number("most"):
        pages = "the search results" if kind == "searched" else "other clients' pages"
        yield subject.finding(share_rule, WHOLE, _share_message(share, pages))


def _share_message(share: float, pages: str) -> str:
    return (
        f"{share:.0%} of the draft's runs of {SHINGLE_WORDS} words stand in {pages}."
        " Write it again in words of its own."
    )


def _severity(rule: Rule, words: int) -> Severity:
    return rule.severity if words >= rule.number("error") else "warning"
