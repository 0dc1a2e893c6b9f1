"""All checks of one draft, each a rule with its source; offline."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from copydesk.content._batch import Batch
from copydesk.content._checks import Check, installed_checks
from copydesk.content._originality import TrainingIndex
from copydesk.content._rules import RuleBook, default_rules
from copydesk.content._shingles import ShingleIndex
from copydesk.content._subject import Subject
from copydesk.content._vale import ValeRule
from copydesk.records import Brief, Finding, StyleGuide

NO_GUIDE = StyleGuide()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standards:
    """What a client's drafts are checked against."""

    guide: StyleGuide = NO_GUIDE
    rules: RuleBook | None = None
    """The rules as the client sets them; None is as they are shipped, with what the guide sets."""
    index: TrainingIndex | None = None
    """The client's training pages."""
    others: Sequence[ShingleIndex] = ()
    """Search results and other clients' pages, as hashes."""
    styles: Sequence[ValeRule] = ()
    """Vale's rules."""
    waivers: Mapping[str, str] | None = None
    """Rule -> why its findings may stand."""


NO_STANDARDS = Standards()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A draft to be checked, as far as it is known."""

    text: str
    """Markdown, without its title."""
    title: str | None = None
    slug: str | None = None
    meta_description: str | None = None
    brief: Brief | None = None
    label: str = ""
    """What to call it in findings about other drafts of its batch, e.g. its path."""


def check(
    text: str,
    *,
    title: str | None = None,
    slug: str | None = None,
    meta_description: str | None = None,
    brief: Brief | None = None,
    guide: StyleGuide = NO_GUIDE,
    index: TrainingIndex | None = None,
    standards: Standards | None = None,
    checks: Sequence[Check] | None = None,
) -> tuple[Finding, ...]:
    """What can be said against a draft, in the order of the text.

    A rule whose standard is not given (no brief, no guide, no index) says nothing.

    Args:
        text: the draft in Markdown, without its title; findings' spans are in its characters.
        title: the draft's title; the brief's where left out.
        slug: its part of the address.
        meta_description: its description for results pages.
        brief: what was asked for.
        guide: the client's style guide; shorthand for standards with nothing else.
        index: the client's training pages, likewise.
        standards: all that the client's drafts are checked against.
        checks: the families to run; all that are installed where left out.

    Raises:
        InvalidInput: the guide sets a rule that there is not.
    """
    if standards is None:
        standards = Standards(guide=guide, index=index)
    page = Page(text=text, title=title, slug=slug, meta_description=meta_description, brief=brief)
    return _checked(page, standards, rules_for(standards, checks), checks)


def check_batch(
    pages: Iterable[Page],
    standards: Standards = NO_STANDARDS,
    *,
    checks: Sequence[Check] | None = None,
) -> Iterator[tuple[Page, tuple[Finding, ...]]]:
    """Check pages one after another, each also against those before it.

    Memory does not grow with the pages' text: of each only a sketch of 4 kB is kept, of the last
    10,000.

    Yields:
        Each page with its findings, in the order that they came.
    """
    rules = rules_for(standards, checks)
    batch = Batch(rules)
    for page in pages:
        title = page.title or (page.brief.title if page.brief else "")
        copies = batch.add(page.label or title, page.text, title=title)
        found = _checked(page, standards, rules, checks)
        waived = (_waived(finding, standards.waivers or {}) for finding in copies)
        yield page, in_order([*found, *waived])


def rules_for(standards: Standards, checks: Sequence[Check] | None = None) -> RuleBook:
    """The rules of all checks as the client sets them.

    Raises:
        InvalidInput: the guide sets a rule that there is not.
    """
    if standards.rules is not None:
        return standards.rules
    book = default_rules()
    for family in installed_checks() if checks is None else checks:
        book = book.with_rules(family.rules)
    if not standards.guide.rules:
        return book
    return book.changed(standards.guide.rules, where="client style guide")


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by where they start, then by rule."""
    return tuple(sorted(findings, key=lambda f: (f.start, f.rule, f.end, f.message)))


def _checked(
    page: Page, standards: Standards, rules: RuleBook, checks: Sequence[Check] | None
) -> tuple[Finding, ...]:
    title = page.brief.title if page.title is None and page.brief is not None else page.title
    subject = Subject(
        page.text,
        title=title,
        slug=page.slug,
        meta_description=page.meta_description,
        brief=page.brief,
        guide=standards.guide,
        rules=rules,
        index=standards.index,
        others=standards.others,
        styles=standards.styles,
    )
    families = installed_checks() if checks is None else checks
    found = (finding for family in families for finding in family.findings(subject))
    return in_order(_waived(finding, standards.waivers or {}) for finding in found)


def _waived(finding: Finding, waivers: Mapping[str, str]) -> Finding:
    """The finding, with the reason to let it stand where there is one; it stays listed."""
    reason = waivers.get(f"{finding.family}/{finding.rule}") or waivers.get(finding.family)
    return replace(finding, waived=reason) if reason else finding
