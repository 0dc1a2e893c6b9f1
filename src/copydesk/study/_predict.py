"""What each compared method will take, predicted on the very examples that it will see.

As in a plan, the loop is traced and the machine's card gives times; but the micro-batch is one of
the run's own, the fullest, where a plan takes every example to be `max_length` long.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from copydesk.errors import InvalidInput
from copydesk.models import (
    Encoded,
    can_share_starts,
    common_start,
    find_method,
    split_by_tokens,
)
from copydesk.records import Listener, MethodRow, Progress
from copydesk.study._hardware import Machine
from copydesk.study._memory_model import fixed_bytes, memory_parts
from copydesk.study._question import Material, Question
from copydesk.study._shapes import Architecture, read_architecture
from copydesk.study._time_model import step_seconds, work_seconds
from copydesk.study._trace import trace_micro
from copydesk.train import LEAST_TOKENS, Recipe, plan_steps, tokens_at_once


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of one method's runs on all clients."""

    peak_memory_bytes: int
    """Of the client that takes most."""
    epoch_seconds: float
    """Of one pass over all clients' pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Micro:
    """Examples that are run at once."""

    examples: Sequence[Encoded]
    start: int
    """Tokens that they have in common, and that are run once."""
    accumulates: bool
    """Gradients of an earlier micro-batch of its step are there."""

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for example in self.examples)

    @property
    def rows(self) -> int:
        return self.tokens - self.start * (len(self.examples) - 1)


def predict_runs(
    question: Question, materials: Sequence[Material], machine: Machine, listener: Listener
) -> dict[str, Prediction]:
    """Method -> prediction; without those that the architecture cannot have, whose run will say so.

    Args:
        question: clients and methods.
        materials: each client's encoded examples.
        machine: where they will run, one device.
        listener: receives an event a method.
    """
    info = question.subjects[0].recipes[0].base
    architecture = read_architecture(info.path, info.name)
    task = f"compare {' + '.join(question.clients)}: predicting"
    found: dict[str, Prediction] = {}
    total = len(question.methods)
    for done, method in enumerate(question.methods):
        listener(Progress(task=task, done=done, total=total, unit="methods"))
        recipes = [
            next(recipe for recipe in subject.recipes if recipe.method == method)
            for subject in question.subjects
        ]
        try:
            found[method] = _predict(architecture, recipes, materials, machine)
        except InvalidInput:
            continue
    listener(Progress(task=task, done=total, total=total, unit="methods"))
    return found


def with_prediction(row: MethodRow, prediction: Prediction | None) -> MethodRow:
    """The row with what was predicted. A pass of many clients holds more than one run does, so that
    its memory has nothing to be held against."""
    if prediction is None:
        return row
    alone = row.clients_in_pass == 1
    return replace(
        row,
        predicted_peak_memory_bytes=prediction.peak_memory_bytes if alone else None,
        predicted_epoch_seconds=prediction.epoch_seconds,
    )


def _predict(
    architecture: Architecture,
    recipes: Sequence[Recipe],
    materials: Sequence[Material],
    machine: Machine,
) -> Prediction:
    recipe = recipes[0]
    method = find_method(recipe.method)
    epochs = [_epoch(one, material) for one, material in zip(recipes, materials, strict=True)]
    largest = max(one.run.batch_tokens for one in recipes)
    limit = tokens_at_once(machine.device.kind, largest)
    shared = machine.device.kind == "cpu" and can_share_starts(recipe.own)
    while True:
        micro = max(
            (micro for steps in epochs for step in steps for micro in _micros(step, limit, shared)),
            key=lambda micro: (micro.rows, micro.accumulates),
        )
        answers = sum(example.answer_length for example in micro.examples)
        trace = trace_micro(
            architecture.config,
            recipe.method,
            recipe.own,
            dtype=recipe.dtype,
            lengths=[len(example.ids) for example in micro.examples],
            answer_share=answers / micro.tokens,
            accumulates=micro.accumulates,
            start=micro.start,
            on_cpu=machine.device.kind == "cpu",
        )
        quantisation = method.quantisation(recipe.own)
        fixed = fixed_bytes(
            architecture,
            trace.trained,
            recipe.run,
            dtype=recipe.dtype,
            whole=method.leaves == "base",
            quantisation=quantisation,
        )
        stored = str(recipe.dtype).removeprefix("torch.") == architecture.stored_dtype
        converts = quantisation is not None or not stored
        peak = memory_parts(fixed, trace.peak, machine, converts=converts).total
        if peak <= machine.device.memory_bytes or limit <= LEAST_TOKENS:
            break
        limit //= 2
    tokens = sum(material.epoch_tokens for material in materials)
    steps = sum(map(len, epochs))
    seconds = tokens / trace.tokens * work_seconds(trace.work, machine.device)
    return Prediction(
        peak_memory_bytes=peak, epoch_seconds=seconds + steps * step_seconds(fixed, machine)
    )


def _epoch(recipe: Recipe, material: Material) -> list[list[Encoded]]:
    """The steps of one pass over the pages."""
    return plan_steps(material.train, replace(recipe.run, epochs=1.0, max_steps=None))


def _micros(step: Sequence[Encoded], limit: int, shared: bool) -> list[_Micro]:
    """A step's micro-batches. Two halves side by side hold what one whole does."""
    return [
        _Micro(
            examples=examples,
            start=common_start(examples) if shared else 0,
            accumulates=number > 0,
        )
        for number, examples in enumerate(split_by_tokens(step, limit, shared=shared))
    ]
