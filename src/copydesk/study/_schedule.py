"""Which cells a comparison measures, in which order, and with how much of the time each."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from copydesk.study._budget import Budget
from copydesk.study._cells import Cell
from copydesk.study._measure import Workbench, measure_baselines, measure_run
from copydesk.study._pool import Pool
from copydesk.study._question import Material, Question
from copydesk.study._sweep import NO_SWEEP, Sweep, sweep_rate
from copydesk.train import Recipe, plan_steps

SWEEP_SHARE = 0.4
"""Of the time that is left after the baselines: a sweep takes about as long as a final run."""
SCORINGS = 4
"""Scorings of a run on its way in a thorough comparison, so that the time to 95% can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All cells of a comparison."""

    base: Pool
    prompted: Pool
    sweeps: Mapping[str, Sweep]
    pools: Mapping[str, Pool]
    """Method -> its final runs."""
    recipes: Mapping[str, Recipe]
    """Method -> the recipe of the first client's first run."""

    @property
    def seconds(self) -> float:
        """Wall time of everything, whenever it was measured."""
        pools = (self.base, self.prompted, *self.pools.values())
        finals = sum(cell.seconds for pool in pools for cell in pool.cells)
        return finals + sum(sweep.seconds for sweep in self.sweeps.values())


def measure_all(question: Question, materials: Sequence[Material], bench: Workbench) -> Measured:
    """Measure what is missing: baselines, then the methods' sweeps, then the final runs.

    The first seed's runs come first, for all methods and clients, each with a share of the time
    that goes by what its method's trials took. Further seeds are begun only where their time
    suffices by what the first took, and are left out where it does not.
    """
    budget = Budget(question.budget_seconds)
    bases, prompts = _baselines(question, materials, bench)
    sweeps = _sweeps(question, materials, bench, budget)
    runs: dict[tuple[str, int], list[Cell]] = {}
    places = [
        (method, place) for method in question.methods for place in range(len(question.subjects))
    ]
    recipes = {
        (method, place, seed): _final_recipe(question, materials, sweeps, method, place, seed)
        for method, place in places
        for seed in range(question.seeds)
    }
    weights = [
        _weight(sweeps, materials, recipes[method, place, 0], place) for method, place in places
    ]
    for number, (method, place) in enumerate(places):
        allowance = budget.share(weights[number], sum(weights[number:]), less=bases[place].seconds)
        cell = measure_run(
            recipes[method, place, 0],
            question.subjects[place],
            materials[place],
            bases[place],
            bench,
            repeat=0,
            probe=question.probe,
            out_of_time=allowance,
        )
        runs[method, place] = [cell]
    for seed in range(1, question.seeds):
        for method, place in places:
            first = runs[method, place][0]
            if first.status != "done" or len(runs[method, place]) < seed:
                continue
            if budget.left is not None and budget.left < first.seconds:
                continue
            cell = measure_run(
                recipes[method, place, seed],
                question.subjects[place],
                materials[place],
                bases[place],
                bench,
                repeat=seed,
                probe=False,
                out_of_time=budget.share(1, 1),
            )
            if cell.status != "cut":
                runs[method, place].append(cell)
    return Measured(
        base=Pool(runs=tuple((cell,) for cell in bases)),
        prompted=Pool(runs=tuple((cell,) for cell in prompts)),
        sweeps=sweeps,
        pools={
            method: Pool(
                runs=tuple(tuple(runs[method, place]) for place in range(len(question.subjects)))
            )
            for method in question.methods
        },
        recipes={method: recipes[method, 0, 0] for method in question.methods},
    )


def _baselines(
    question: Question, materials: Sequence[Material], bench: Workbench
) -> tuple[list[Cell], list[Cell]]:
    bases: list[Cell] = []
    prompts: list[Cell] = []
    for subject, material in zip(question.subjects, materials, strict=True):
        base, prompted = measure_baselines(
            subject,
            material,
            bench,
            probe=question.probe,
            spoken=bases[0].spoken if bases else None,
        )
        bases.append(base)
        prompts.append(prompted)
    return bases, prompts


def _sweeps(
    question: Question, materials: Sequence[Material], bench: Workbench, budget: Budget
) -> dict[str, Sweep]:
    methods = question.methods
    if not question.sweep:
        return dict.fromkeys(methods, NO_SWEEP)
    found: dict[str, Sweep] = {}
    for number, method in enumerate(methods):
        left = len(methods) - number
        # What the finals are to have weighs on the scale beside the sweeps that are left.
        found[method] = sweep_rate(
            method,
            question.subjects,
            materials,
            bench,
            budget,
            weight=1.0,
            of=left + len(methods) * (1 - SWEEP_SHARE) / SWEEP_SHARE,
        )
    return found


def _final_recipe(
    question: Question,
    materials: Sequence[Material],
    sweeps: Mapping[str, Sweep],
    method: str,
    place: int,
    seed: int,
) -> Recipe:
    """The recipe of a final run: the swept rate, another seed for each repeat, enough scorings."""
    (recipe,) = (one for one in question.subjects[place].recipes if one.method == method)
    run = recipe.run
    if question.sweep:
        run = dataclasses.replace(run, learning_rate=run.learning_rate * sweeps[method].factor)
    thorough = question.sweep or question.probe or question.seeds > 1
    if thorough and run.eval_steps is None and run.early_stopping_patience is None:
        steps = len(plan_steps(materials[place].train, run))
        run = dataclasses.replace(run, eval_steps=math.ceil(steps / SCORINGS))
    return dataclasses.replace(recipe, run=dataclasses.replace(run, seed=run.seed + seed))


def _weight(
    sweeps: Mapping[str, Sweep], materials: Sequence[Material], recipe: Recipe, place: int
) -> float:
    """Seconds that a final run will train for, by its method's trials; without any, 1 for all."""
    trials = sweeps[recipe.method].cells
    tokens = sum(cell.tokens for cell in trials)
    if not tokens:
        return 1.0
    planned = sum(
        len(example.ids)
        for step in plan_steps(materials[place].train, recipe.run)
        for example in step
    )
    return planned * sum(cell.train_seconds for cell in trials) / tokens
