"""Best of several: candidates ranked by what the checks say, then by a measure of voice."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from copydesk.records import Draft, Severity

WEIGHTS: Final[dict[Severity, int]] = {"error": 100, "warning": 10, "info": 0}
"""One error outweighs nine warnings; notes weigh nothing, since facts that are used are notes."""

VOICE_STEP: Final = 0.05
"""Voices closer than the measure's own calibration error say nothing of which is nearer."""

Ranker = Callable[[Draft], float | None]
"""How much a draft sounds like its client, 0 to 1; None for one that is too short to tell."""


def penalty(draft: Draft) -> int:
    """The weight of a draft's findings that nobody waived."""
    return sum(WEIGHTS[finding.severity] for finding in draft.findings if finding.waived is None)


def _errors(draft: Draft) -> int:
    return sum(one.severity == "error" and one.waived is None for one in draft.findings)


def choose(drafts: Sequence[Draft], seeds: Sequence[int], *, voice: Ranker | None = None) -> Draft:
    """The draft with the fewest errors; of those the nearest in voice, then the least against it.

    A text that must be rewritten is not saved by its sound. A draft whose voice cannot be told
    stands behind those whose can.

    Args:
        drafts: at least one, of one brief.
        seeds: of each draft.
        voice: measures how near a draft is to its client's pages.

    Returns:
        The draft, its `chosen` saying how it was found.
    """
    voices = [voice(draft) if voice else None for draft in drafts]

    def place(at: int) -> tuple[int, int, int, int]:
        heard = voices[at]
        sound = -1 if heard is None else int(heard / VOICE_STEP + 1e-9)
        return _errors(drafts[at]), -sound, penalty(drafts[at]), at

    order = sorted(range(len(drafts)), key=place)
    best = order[0]
    draft = drafts[best]
    if len(drafts) == 1:
        return replace(draft, chosen=f"The only candidate; seed {seeds[0]}.")
    counts = {
        kind: sum(f.severity == kind for f in draft.findings) for kind in ("error", "warning")
    }
    by = "errors, voice, then warnings" if voice else "findings"
    nearest = voices[best]
    heard = f", voice {nearest:.2f}" if nearest is not None else ""
    return replace(
        draft,
        chosen=(
            f"Best of {len(drafts)} by {by}: seed {seeds[best]}, {counts['error']} errors and"
            f" {counts['warning']} warnings{heard}. The others' penalties: "
            + ", ".join(str(penalty(drafts[at])) for at in order[1:])
            + f" against {penalty(draft)}."
        ),
    )
