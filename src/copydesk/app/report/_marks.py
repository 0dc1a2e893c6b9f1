"""A draft's text cut at the edges of its findings, so that each can be marked where it stands."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from copydesk.records import Finding, Severity

_WORST_FIRST: Final[tuple[Severity, ...]] = ("error", "warning", "info")
_LONG_SPAN = 160
"""Characters from which a span is underlined only: a whole coloured paragraph is hard to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of the text under the same findings all through."""

    text: str
    numbers: tuple[int, ...]
    """Numbers of the findings that the stretch belongs to; empty where there is none."""
    opened: tuple[tuple[int, Severity], ...]
    """Numbers and severities of the findings that begin here."""
    severity: Severity | None
    """The worst of them."""
    long: bool
    """Whether only long findings cover it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A finding and its number among those with a place in the text; None for the rest."""

    number: int | None
    finding: Finding


def numbered(text: str, findings: Sequence[Finding]) -> tuple[Numbered, ...]:
    """Findings about the whole first, then the others numbered in the text's order."""
    whole = [finding for finding in findings if not _has_place(text, finding)]
    placed = sorted((f for f in findings if _has_place(text, f)), key=lambda f: (f.start, f.end))
    return (
        *(Numbered(number=None, finding=finding) for finding in whole),
        *(Numbered(number=n, finding=finding) for n, finding in enumerate(placed, start=1)),
    )


def segments(text: str, findings: Sequence[Numbered]) -> tuple[Segment, ...]:
    """The whole text in order. The stretches of a finding, joined, are exactly its span."""
    placed = [(item.number, item.finding) for item in findings if item.number is not None]
    edges = {0, len(text)} | {edge for _, f in placed for edge in (f.start, f.end)}
    cuts = sorted(edges)
    made: list[Segment] = []
    for start, end in itertools.pairwise(cuts):
        over = [(n, f) for n, f in placed if f.start <= start and end <= f.end]
        here = {finding.severity for _, finding in over}
        made.append(
            Segment(
                text=text[start:end],
                numbers=tuple(n for n, _ in over),
                opened=tuple((n, f.severity) for n, f in over if f.start == start),
                severity=next((worst for worst in _WORST_FIRST if worst in here), None),
                long=all(f.end - f.start >= _LONG_SPAN for _, f in over),
            )
        )
    return tuple(made)


def _has_place(text: str, finding: Finding) -> bool:
    return 0 <= finding.start < finding.end <= len(text)
