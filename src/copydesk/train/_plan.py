"""Which examples each optimiser step sees. A pure function of data, settings and seed."""

import math
import random
from collections.abc import Sequence

from copydesk.models import Encoded, split_by_tokens
from copydesk.train._settings import RunSettings

FLOOR = 0.1
"""Share of the peak rate that a falling rate ends at."""
SCORINGS = 2
"""Scorings on the way where the settings name no number, evenly spread; the last is the end."""
EARLY_SCORINGS = 10
"""The same for a run that may stop early."""


def plan_steps(examples: Sequence[Encoded], run: RunSettings) -> list[list[Encoded]]:
    """The examples of every step, in order.

    Each epoch visits every example once, in an order drawn from the seed and the epoch's number,
    cut into steps of at most `batch_tokens`. A last part of an epoch visits its first examples.
    """
    steps: list[list[Encoded]] = []
    left = run.epochs
    epoch = 0
    while left > 0:
        order = list(examples)
        random.Random(f"{run.seed}/{epoch}").shuffle(order)
        part = order if left >= 1 else order[: max(1, round(left * len(order)))]
        steps.extend(split_by_tokens(part, run.batch_tokens))
        if run.max_steps is not None and len(steps) >= run.max_steps:
            return steps[: run.max_steps]
        left -= 1
        epoch += 1
    return steps


def rate_at(step: int, total: int, run: RunSettings) -> float:
    """Learning rate of a step: rising evenly in the warm-up, then falling to a tenth or constant.

    Args:
        step: 0 for the first.
        total: number of steps.
        run: names the peak, the scheduler and the warm-up's share of the steps.
    """
    rising = max(1, round(total * run.warmup_ratio)) if run.warmup_ratio else 0
    if step < rising:
        return run.learning_rate * (step + 1) / rising
    share = (step - rising) / max(1, total - rising)
    match run.lr_scheduler:
        case "constant":
            left = 1.0
        case "linear":
            left = 1.0 - share
        case "cosine":
            left = 0.5 * (1 + math.cos(math.pi * share))
    return run.learning_rate * (FLOOR + (1 - FLOOR) * left)


def scoring_steps(total: int, run: RunSettings) -> frozenset[int]:
    """After which steps the held-out pages are scored; the last is always one of them."""
    if run.eval_steps is not None:
        return frozenset({*range(run.eval_steps, total + 1, run.eval_steps), total})
    parts = EARLY_SCORINGS if run.early_stopping_patience is not None else SCORINGS
    return frozenset(math.ceil(total * part / parts) for part in range(1, parts + 1))
