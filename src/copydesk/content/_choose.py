"""Best of several: candidates ranked by what the checks say, then by a measure of voice."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from copydesk.records import Draft, Severity

WEIGHTS: Final[dict[Severity, int]] = {"error": 100, "warning": 10, "info": 0}
"""One error outweighs nine warnings; notes weigh nothing, since facts that are used are notes."""

Ranker = Callable[[Draft], float]
"""How much a draft sounds like its client: more is nearer."""


def penalty(draft: Draft) -> int:
    """The weight of a draft's findings that nobody waived."""
    return sum(WEIGHTS[finding.severity] for finding in draft.findings if finding.waived is None)


def choose(drafts: Sequence[Draft], seeds: Sequence[int], *, voice: Ranker | None = None) -> Draft:
    """The draft with the least against it; of equals the nearest in voice, then the first.

    Args:
        drafts: at least one, of one brief.
        seeds: of each draft.
        voice: measures how near a draft is to its client's pages.

    Returns:
        The draft, its `chosen` saying how it was found.
    """
    voices = [voice(draft) if voice else 0.0 for draft in drafts]
    order = sorted(range(len(drafts)), key=lambda at: (penalty(drafts[at]), -voices[at], at))
    best = order[0]
    draft = drafts[best]
    if len(drafts) == 1:
        return replace(draft, chosen=f"The only candidate; seed {seeds[0]}.")
    counts = {
        kind: sum(f.severity == kind for f in draft.findings) for kind in ("error", "warning")
    }
    by = "findings, then voice" if voice else "findings"
    heard = f", voice {voices[best]:.2f}" if voice else ""
    return replace(
        draft,
        chosen=(
            f"Best of {len(drafts)} by {by}: seed {seeds[best]}, {counts['error']} errors and"
            f" {counts['warning']} warnings{heard}. The others' penalties: "
            + ", ".join(str(penalty(drafts[at])) for at in order[1:])
            + f" against {penalty(draft)}."
        ),
    )
