"""The one sentence that an owner reads first: what to use, and why."""

from collections.abc import Sequence

from copydesk.app.report import _units
from copydesk.app.report._methods import is_tuned, method_in_sentence
from copydesk.records import Comparison, MethodRow


def headline(comparison: Comparison) -> str:
    """What to use and why, from the figures; empty where the comparison recommends nothing."""
    found = {row.method: row for row in comparison.rows}
    chosen = found.get(comparison.recommended or "")
    if chosen is None:
        return ""
    for method in ("prompted", "base"):
        if (free := found.get(method)) is not None and _as_good(free, chosen):
            chosen = free
    if not is_tuned(chosen):
        what = "the untuned base" + (
            " with style guide and examples in its prompt" if chosen.method == "prompted" else ""
        )
        return f"Use {what}: no tuning method did better on pages that none of them had seen."
    name = method_in_sentence(chosen.method)
    if chosen.method == "full":
        return f"Use {name}: {_over_the_rest(chosen, comparison.rows)}."
    reached = (
        f"it reached {_units.percent(chosen.relative_performance)} of full fine-tuning\u2019s gain"
    )
    if chosen.relative_performance is None:
        reached = f"its loss on held-out pages is {_units.number(chosen.heldout_loss, 3)}"
    bounds = _units.interval(chosen.relative_performance_ci, 0)
    if bounds:
        reached += f" (95% interval {bounds})"
    return f"Use {name}: {reached}{_tied(chosen)}{_beside(chosen, found.get('full'))}."


def _as_good(free: MethodRow, tuned: MethodRow) -> bool:
    """Whether the baseline, which costs nothing to train, gives what the tuned method does."""
    if free.heldout_loss is None or tuned.heldout_loss is None:
        return False
    return free.heldout_loss <= tuned.heldout_loss


def _tied(row: MethodRow) -> str:
    if not row.tied_with:
        return ""
    names = [method_in_sentence(method) for method in row.tied_with]
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f", tied with {listed}"


def _beside(row: MethodRow, full: MethodRow | None) -> str:
    """Its time and memory as shares of full fine-tuning's, where both are known."""
    if full is None or full.status != "done":
        return ""
    shares = [
        f"{preposition} {100 * one / whole:.0f}% of full\u2019s {noun}"
        for one, whole, preposition, noun in (
            (row.train_seconds, full.train_seconds, "in", "training time"),
            (row.peak_memory_bytes, full.peak_memory_bytes, "with", "memory"),
        )
        if one and whole
    ]
    return f", {' '.join(shares)}" if shares else ""


def _over_the_rest(full: MethodRow, rows: Sequence[MethodRow]) -> str:
    if full.tied_with:
        return f"it is the cheapest of the best{_tied(full)}"
    others = [
        row
        for row in rows
        if is_tuned(row) and row is not full and row.relative_performance is not None
    ]
    if not others:
        return "no other method ran to its end"
    near = max(others, key=lambda row: row.relative_performance or 0.0)
    bounds = _units.interval(near.relative_performance_ci, 0)
    tail = f" (95% interval {bounds})" if bounds else ""
    return (
        f"the nearest other method, {method_in_sentence(near.method)}, reached"
        f" {_units.percent(near.relative_performance)} of its gain{tail}"
    )
