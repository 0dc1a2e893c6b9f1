"""What comparisons of the workspace say of methods: their share of full fine-tuning's gain, their
best learning rates, and what they took.

Publications and comparisons are combined as estimates with normal errors: each counts by the
inverse of its variance. A comparison's variance is that of its own interval over pages; where it is
of another client, another number of pages or another base, what these add (`Weights`) comes on top.
So publications decide until there are comparisons, one comparison of the client itself outweighs
them, and it takes several of other clients to do so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from copydesk.records import Comparison, MethodRow
from copydesk.study._rules import Weights
from copydesk.study._situation import PLANNED_RANK, Forecast, Situation

Z95 = 1.96
_UNKNOWN_SD = 10.0
"""Of a share that was kept without an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A method's share of full fine-tuning's gain, in percent."""

    value: float
    sd: float
    weight: float = 0.0
    """Of comparisons here, 0 to 1; the rest is publications'."""
    comparisons: tuple[Comparison, ...] = ()
    """Those that it rests on."""
    measured: float | None = None
    """What they say by themselves."""


def estimate(situation: Situation, method: str, published: float, weights: Weights) -> Estimate:
    """A method's share, from what publications lead to expect and what was measured here."""
    found = [
        (comparison, row)
        for comparison in situation.comparisons
        for row in comparison.rows
        if row.method == method and row.status == "done" and row.relative_performance is not None
    ]
    if not found:
        return Estimate(value=published, sd=weights.published_sd)
    shares = [row.relative_performance or 0.0 for _, row in found]
    precisions = [1 / _variance(situation, comparison, row, weights) for comparison, row in found]
    local = sum(precisions)
    measured = sum(map(math.prod, zip(shares, precisions, strict=True))) / local
    prior = 1 / weights.published_sd**2
    return Estimate(
        value=(measured * local + published * prior) / (local + prior),
        sd=(local + prior) ** -0.5,
        weight=local / (local + prior),
        comparisons=tuple(comparison for comparison, _ in found),
        measured=measured,
    )


def _variance(
    situation: Situation, comparison: Comparison, row: MethodRow, weights: Weights
) -> float:
    own = comparison.clients or (comparison.client,)
    low, high = row.relative_performance_ci or (0.0, 2 * Z95 * _UNKNOWN_SD)
    spread = 0.0 if set(own) & set(situation.names) else weights.between_clients_sd
    doublings = abs(math.log2(max(1, comparison.train_documents) / max(1, situation.pages)))
    base = 0.0 if comparison.base == situation.base else weights.other_base_sd
    return (
        max(0.1, (high - low) / (2 * Z95)) ** 2
        + spread**2
        + (weights.doubling_sd * doublings) ** 2
        + base**2
    )


def best_rate(situation: Situation, method: str) -> tuple[float, tuple[Comparison, ...]] | None:
    """The geometric mean of the rates that sweeps over this base found best, and which they were.

    None where no comparison swept.
    """
    found = [
        (comparison, row.learning_rate)
        for comparison in situation.comparisons
        if comparison.base == situation.base
        for row in comparison.rows
        if row.method == method and row.status == "done" and row.swept and row.learning_rate
    ]
    if not found:
        return None
    mean = math.exp(sum(math.log(rate) for _, rate in found) / len(found))
    return mean, tuple(comparison for comparison, _ in found)


def measured_forecasts(
    comparisons: Sequence[Comparison], *, base: str, tokens: int
) -> dict[str, Forecast]:
    """What methods took in the newest comparison over this base that ran them.

    Args:
        comparisons: of one machine.
        base: the base's name.
        tokens: of the epoch whose time is wanted; time is in proportion to them.
    """
    found: dict[str, Forecast] = {}
    for comparison in sorted(comparisons, key=lambda one: one.created):
        if comparison.base != base:
            continue
        for row in comparison.rows:
            if row.status == "done" and row.tokens_per_second:
                rank = comparison.settings.get(row.method, {}).get("lora_r")
                found[row.method] = Forecast(
                    trainable_parameters=row.trainable_parameters,
                    peak_memory_bytes=row.peak_memory_bytes if row.clients_in_pass == 1 else None,
                    epoch_seconds=tokens / row.tokens_per_second,
                    artifact_bytes=row.artifact_bytes,
                    lora_r=int(rank) if rank else PLANNED_RANK,
                )
    return found
