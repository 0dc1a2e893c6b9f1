"""One sentence of what a comparison found."""

from collections.abc import Sequence

from copydesk.records import MethodRow


def verdict(rows: Sequence[MethodRow]) -> str:
    """What an owner should know first, in figures of the rows; says so where nothing was gained."""
    found = {row.method: row for row in rows if row.status == "done"}
    missing = [row for row in rows if row.status != "done"]
    parts: list[str] = []
    lora, full, base = found.get("lora"), found.get("full"), found.get("base")
    if lora and full and lora.relative_performance is not None:
        low, high = lora.relative_performance_ci or (float("nan"), float("nan"))
        parts.append(
            f"LoRA reached {lora.relative_performance:.0f}% of full fine-tuning's gain "
            f"(95% interval {low:.0f} to {high:.0f}) in {_share(lora, full, 'train_seconds')} of "
            f"its training time with {_share(lora, full, 'peak_memory_bytes')} of its peak memory."
        )
    elif lora and full:
        parts.append("Full fine-tuning did not gain on the untuned base, so there is no share.")
    tuned = [row for row in (lora, full) if row and row.heldout_loss is not None]
    if base and base.heldout_loss is not None and tuned:
        best = min(tuned, key=lambda row: row.heldout_loss or 0.0)
        assert best.heldout_loss is not None
        better = best.heldout_loss < base.heldout_loss
        parts.append(
            f"{'LoRA' if best is lora else 'Full fine-tuning'} has the lowest held-out loss, "
            f"{best.heldout_loss:.3f} against {base.heldout_loss:.3f} untuned."
            if better
            else f"No method beat the untuned base ({base.heldout_loss:.3f}) on held-out pages."
        )
        parts.extend(_against_prompting(found.get("prompted"), best))
    parts.extend(f"{row.method} did not finish: {row.error}" for row in missing)
    return " ".join(parts) or "Nothing was measured."


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
