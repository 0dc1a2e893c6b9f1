"""One sentence of what a comparison found."""

from collections.abc import Sequence

from copydesk.models import find_method
from copydesk.records import MethodRow

_UNTUNED = {"base", "prompted"}


def verdict(rows: Sequence[MethodRow]) -> str:
    """What an owner should know first, in figures of the rows; says so where nothing was gained."""
    found = {row.method: row for row in rows if row.status == "done"}
    missing = [row for row in rows if row.status != "done"]
    parts: list[str] = []
    full, base = found.get("full"), found.get("base")
    tuned = [row for name, row in found.items() if name not in _UNTUNED]
    for row in tuned:
        if full is None or row is full:
            continue
        if row.relative_performance is not None:
            parts.append(_beside_full(row, full))
        elif not any("no share" in part for part in parts):
            parts.append("Full fine-tuning did not gain on the untuned base, so there is no share.")
    scored = [row for row in tuned if row.heldout_loss is not None]
    if base and base.heldout_loss is not None and scored:
        best = min(scored, key=lambda row: row.heldout_loss or 0.0)
        assert best.heldout_loss is not None
        better = best.heldout_loss < base.heldout_loss
        parts.append(
            f"{_name(best)} has the lowest held-out loss, "
            f"{best.heldout_loss:.3f} against {base.heldout_loss:.3f} untuned."
            if better
            else f"No method beat the untuned base ({base.heldout_loss:.3f}) on held-out pages."
        )
        parts.extend(_against_prompting(found.get("prompted"), best))
    parts.extend(f"{row.method} did not finish: {row.error}" for row in missing)
    return " ".join(parts) or "Nothing was measured."


def _beside_full(row: MethodRow, full: MethodRow) -> str:
    low, high = row.relative_performance_ci or (float("nan"), float("nan"))
    return (
        f"{_name(row)} reached {row.relative_performance:.0f}% of full fine-tuning's gain "
        f"(95% interval {low:.0f} to {high:.0f}) in {_share(row, full, 'train_seconds')} of "
        f"its training time with {_share(row, full, 'peak_memory_bytes')} of its peak memory."
    )


def _name(row: MethodRow) -> str:
    """A method's label, as the first word of a sentence."""
    label = find_method(row.method).label
    return label[0].upper() + label[1:]


def _against_prompting(prompted: MethodRow | None, best: MethodRow) -> list[str]:
    if prompted is None or prompted.heldout_loss is None or best.heldout_loss is None:
        return []
    if prompted.heldout_loss <= best.heldout_loss:
        return [
            f"The untuned base with style guide and examples in its prompt did as well "
            f"({prompted.heldout_loss:.3f}): tuning has not earned its cost here."
        ]
    return [
        f"The base with style guide and examples in its prompt got {prompted.heldout_loss:.3f}."
    ]


def _share(part: MethodRow, whole: MethodRow, figure: str) -> str:
    one, other = getattr(part, figure), getattr(whole, figure)
    return f"{100 * one / other:.0f}%" if one and other else "an unknown share"
