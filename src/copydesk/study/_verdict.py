"""One sentence of what a comparison found."""

from collections.abc import Sequence

from copydesk.models import find_method
from copydesk.records import MethodRow
from copydesk.study._rows import UNTUNED, method_label, recommended

_FATES = {"cut": "was cut short"}


def verdict(rows: Sequence[MethodRow]) -> str:
    """What an owner should know first, in figures of the rows; says so where nothing was gained."""
    found = {row.method: row for row in rows if row.status == "done"}
    missing = [row for row in rows if row.status != "done"]
    parts: list[str] = []
    full, base = found.get("full"), found.get("base")
    tuned = [row for name, row in found.items() if name not in UNTUNED]
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
            f"{method_label(best)} has the lowest held-out loss, "
            f"{best.heldout_loss:.3f} against {base.heldout_loss:.3f} untuned."
            if better
            else f"No method beat the untuned base ({base.heldout_loss:.3f}) on held-out pages."
        )
        if better:
            parts.extend(_tie(best, rows))
        parts.extend(_against_prompting(found.get("prompted"), best))
    parts.extend(
        f"{row.method} {_FATES.get(row.status, 'did not finish')}: {row.error}" for row in missing
    )
    return " ".join(parts) or "Nothing was measured."


def _tie(best: MethodRow, rows: Sequence[MethodRow]) -> list[str]:
    """Which methods the best one is tied with, and which of them is the cheapest."""
    if not best.tied_with:
        return []
    named = {row.method: row for row in rows}
    said = [find_method(method).label for method in best.tied_with]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    cheapest = recommended(rows)
    choice = f"; {method_label(named[cheapest])} is the cheapest of them" if cheapest else ""
    return [f"It is tied with {listed} (their 95% intervals overlap){choice}."]


def _beside_full(row: MethodRow, full: MethodRow) -> str:
    low, high = row.relative_performance_ci or (float("nan"), float("nan"))
    return (
        f"{method_label(row)} reached {row.relative_performance:.0f}% of full fine-tuning's gain "
        f"(95% interval {low:.0f} to {high:.0f}) in {_share(row, full, 'train_seconds')} of "
        f"its training time with {_share(row, full, 'peak_memory_bytes')} of its peak memory."
    )


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
