"""One draft as the page shows it: its text with the findings marked where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass

from copydesk.app.report import _units
from copydesk.app.report._marks import Numbered, Segment, numbered, segments
from copydesk.records import Draft, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftView:
    """What the template reads."""

    draft: Draft
    key: str
    segments: tuple[Segment, ...]
    findings: tuple[Numbered, ...]
    tally: str
    about: str


def view_draft(draft: Draft, *, key: str) -> DraftView:
    """All that the page says of it; `key` makes ids the page's only ones."""
    findings = numbered(draft.text, draft.findings)
    asked = [draft.brief.format]
    if draft.brief.length is not None:
        asked.append(f"about {draft.brief.length:,} words asked for")
    if draft.brief.keyword:
        asked.append(f"keyword \u201c{draft.brief.keyword}\u201d")
    return DraftView(
        draft=draft,
        key=key,
        segments=segments(draft.text, findings),
        findings=findings,
        tally=_tally([item.finding.severity for item in findings]),
        about=" \u00b7 ".join(asked),
    )


def _tally(severities: Sequence[Severity]) -> str:
    nouns: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
    counted = [(severities.count(severity), noun) for severity, noun in nouns.items()]
    return ", ".join(_units.plural(n, noun) for n, noun in counted if n) or "No findings"
