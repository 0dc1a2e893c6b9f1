"""Which of several candidates to take: the fewest errors, then the voice, then the warnings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from copydesk.records import Finding

VOICE_STEP: Final = 0.05
"""Voice probabilities closer than the measure's own calibration error say nothing of which of two
texts is nearer to the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedCandidate:
    """A candidate and what placed it."""

    index: int
    """Its place among the texts that were given."""
    errors: int
    warnings: int
    voice: float | None
    """Probability that it is the client's, 0 to 1; None where it could not be judged."""


def rank_candidates(
    texts: Sequence[str],
    voice: Callable[[str], float | None] | None,
    findings: Sequence[Sequence[Finding]],
) -> tuple[RankedCandidate, ...]:
    """Candidates for one brief, the best first; of equals, the one that was given first.

    Errors decide first: a text that must be rewritten is not saved by its sound. Voice decides
    next, in steps of `VOICE_STEP`; a text that could not be judged stands behind those that could.
    Warnings decide last.

    Args:
        texts: the candidates.
        voice: gives the probability that a text is the client's, or None where it is too short;
            None where the client has no voice model.
        findings: what the checks said of each text. A voice finding is not counted again.
    """
    assert len(texts) == len(findings)
    ranked = [
        RankedCandidate(
            index=index,
            errors=_count(found, "error"),
            warnings=_count(found, "warning"),
            voice=voice(text) if voice else None,
        )
        for index, (text, found) in enumerate(zip(texts, findings, strict=True))
    ]
    return tuple(sorted(ranked, key=_place))


def _place(candidate: RankedCandidate) -> tuple[int, int, int, int]:
    sound = -1 if candidate.voice is None else int(candidate.voice / VOICE_STEP + 1e-9)
    return candidate.errors, -sound, candidate.warnings, candidate.index


def _count(findings: Sequence[Finding], severity: str) -> int:
    return sum(one.severity == severity and one.family != "voice" for one in findings)
