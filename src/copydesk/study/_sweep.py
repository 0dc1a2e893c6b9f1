"""A learning rate for each method, from short runs on training pages alone.

The commonest error of comparisons is one rate for all methods, or a tuned rate for one of them.
Here each method tries a geometric grid round its own default: a third, once and three times it,
half a decade a step; and, where an end of the grid is best, one step further. Trials learn from the
training pages without every fifth, and are judged on those fifths: the held-out pages have no part
in it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from copydesk.evaluate import pooled_mean, run_losses
from copydesk.models import Encoded
from copydesk.records import SweptRate
from copydesk.store import json_digest
from copydesk.study._budget import Budget
from copydesk.study._cells import Cell
from copydesk.study._measure import Workbench, measure_trial
from copydesk.study._question import Material, Subject
from copydesk.train import Recipe, plan_steps

GRID = (1.0, 1 / 3, 3.0)
"""Multiples of the method's own rate; the default comes first, so that it is known if time ends."""
WIDER = {1 / 3: 1 / 9, 3.0: 9.0}
"""The multiple that is tried too when an end of the grid is best."""
SHARE = 1 / 3
"""Of the final run's steps that a trial takes,"""
FEWEST, MOST = 8, 40
"""but so many steps at least and at most: fewer tell nothing, more tell little."""
_EVERY = 5
_JUDGES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep found for one method."""

    factor: float
    """Multiple of each client's own rate that the final runs use."""
    swept: tuple[SweptRate, ...]
    """By rising rate, of the first client."""
    seconds: float
    """Wall time of all trials of all clients, unfinished ones included."""
    cells: tuple[Cell, ...]
    """Of the trials that were finished."""


NO_SWEEP = Sweep(factor=1.0, swept=(), seconds=0.0, cells=())


def sweep_rate(
    method: str,
    subjects: Sequence[Subject],
    materials: Sequence[Material],
    bench: Workbench,
    budget: Budget,
    *,
    weight: float,
    of: float,
) -> Sweep:
    """Find a method's rate, pooled over clients: one multiple of the default for all.

    A trial that the budget ends is not counted on, and none is begun after it.

    Args:
        method: its name.
        subjects: the clients.
        materials: their encoded examples, in the same order.
        bench: where to measure.
        budget: of the whole comparison.
        weight: of this sweep in what is left of the budget.
        of: the weights of this sweep and all that comes after it.
    """
    out_of_time = budget.share(weight, of)
    tried: dict[float, float | None] = {}
    seconds: dict[float, float] = {}
    cells: list[Cell] = []
    spent = 0.0
    waiting = list(GRID)
    while waiting:
        factor = waiting.pop(0)
        found: list[Cell] = []
        for subject, material in zip(subjects, materials, strict=True):
            recipe = next(recipe for recipe in subject.recipes if recipe.method == method)
            trial = trial_recipe(recipe, material, factor)
            if trial is None:
                break
            learn, judge = set_aside(material.train)
            found.append(
                measure_trial(trial, subject, learn, judge, bench, out_of_time=out_of_time)
            )
            if found[-1].status != "done":
                break
        spent += sum(cell.seconds for cell in found)
        cells += [cell for cell in found if cell.status == "done"]
        if found and found[-1].status in {"cut", "out_of_memory"}:
            break  # no other rate would have more time, or need less memory
        if found:
            whole = len(found) == len(subjects) and found[-1].status == "done"
            tried[factor] = (
                pooled_mean([run_losses([cell.heldout]) for cell in found]) if whole else None
            )
            seconds[factor] = sum(cell.seconds for cell in found)
        if not waiting and len(tried) == len(GRID) and (further := WIDER.get(_best(tried))):
            waiting.append(further)
    own = next(recipe for recipe in subjects[0].recipes if recipe.method == method)
    return Sweep(
        factor=_best(tried),
        swept=tuple(
            SweptRate(
                learning_rate=own.run.learning_rate * factor,
                loss=tried[factor],
                seconds=seconds[factor],
            )
            for factor in sorted(tried)
        ),
        seconds=spent,
        cells=tuple(cells),
    )


def _best(tried: Mapping[float, float | None]) -> float:
    """The multiple of lowest loss; the default where none finished."""
    losses = {factor: loss for factor, loss in tried.items() if loss is not None}
    return min(losses, key=losses.__getitem__, default=1.0)


def trial_recipe(recipe: Recipe, material: Material, factor: float) -> Recipe | None:
    """The short run at a multiple of the rate; None where that is no rate any more (above 1)."""
    rate = recipe.run.learning_rate * factor
    if rate > 1:
        return None
    planned = len(plan_steps(material.train, recipe.run))
    steps = min(planned, max(FEWEST, min(MOST, math.ceil(planned * SHARE))))
    run = dataclasses.replace(
        recipe.run,
        learning_rate=rate,
        max_steps=steps,
        eval_steps=steps,
        early_stopping_patience=None,
    )
    digest = json_digest({"dataset": recipe.dataset_digest, "part": f"without every {_EVERY}th"})
    return dataclasses.replace(recipe, run=run, dataset_digest=digest)


def set_aside(train: Sequence[Encoded]) -> tuple[tuple[Encoded, ...], tuple[Encoded, ...]]:
    """What a trial learns from, and what it is judged on: every fifth document, twelve at most."""
    names = list(dict.fromkeys(example.id for example in train))
    judges = set(names[_EVERY - 1 :: _EVERY] or names[-1:])
    judged = [name for name in names if name in judges][:_JUDGES]
    return (
        tuple(example for example in train if example.id not in judges),
        tuple(example for example in train if example.id in judged),
    )
