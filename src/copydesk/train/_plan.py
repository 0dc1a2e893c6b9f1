"""Which examples each optimiser step sees. A pure function of data, settings and seed."""

import math
import random
from collections.abc import Sequence

from copydesk.models import Encoded, split_by_tokens
from copydesk.train._settings import RunSettings


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


def rate_at(step: int, total: int, peak: float) -> float:
    """Learning rate of a step: a tenth of the steps rising, then a cosine down to a tenth.

    Args:
        step: 0 for the first.
        total: number of steps.
        peak: the rate the settings name.
    """
    rising = max(1, round(total * 0.1))
    if step < rising:
        return peak * (step + 1) / rising
    share = (step - rising) / max(1, total - rising)
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))
