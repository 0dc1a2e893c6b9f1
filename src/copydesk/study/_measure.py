"""Measure one cell, or find it measured: a baseline, a sweep's trial, or a final run."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from copydesk.errors import CopydeskError, Diverged, OutOfMemory
from copydesk.evaluate import mean_loss, score
from copydesk.models import (
    ATTENTION,
    Encoded,
    ExampleLoss,
    Tuned,
    find_method,
    free_memory,
    load_adapter,
    load_base,
    untuned,
)
from copydesk.records import Listener, LossPoint, Progress
from copydesk.store import folder_bytes, open_artifact
from copydesk.study._cells import (
    Cell,
    CellShelf,
    Spoken,
    base_key,
    cell_record,
    prompted_key,
    read_cell,
    run_key,
    trial_key,
)
from copydesk.study._question import Material, Subject, Trained
from copydesk.study._speaking import speak, speak_as_base
from copydesk.train import Recipe, Tuning, clear_run, plan_steps, tune


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Where and how cells are measured."""

    device: torch.device
    shelf: CellShelf | None
    checkpoint_seconds: float
    listener: Listener
    should_stop: Callable[[], bool]

    def found(self, client: str, key: str) -> Cell | None:
        """A cell that was measured before.

        Raises:
            KeyboardInterrupt: it is time to stop; asked between cells too.
        """
        if self.should_stop():
            raise KeyboardInterrupt
        record = self.shelf.find(client, key) if self.shelf else None
        return read_cell(record) if record else None

    def keep(self, client: str, key: str, cell: Cell, inputs: Mapping[str, str]) -> None:
        """Keep a cell that is whole and would come out the same again.

        A cut one is to go on, and memory may suffice another time.
        """
        if self.shelf and cell.status in {"done", "diverged"}:
            self.shelf.keep(client, key, cell_record(cell), inputs)


def measure_baselines(
    subject: Subject, material: Material, bench: Workbench, *, probe: bool, spoken: Spoken | None
) -> tuple[Cell, Cell]:
    """The untuned base, and the same with guide and examples in its prompt.

    Args:
        subject: the client.
        material: its encoded examples.
        bench: where to measure.
        probe: whether the base is probed and timed.
        spoken: what that gave already, for another client on the same base.
    """
    recipe, client = subject.recipes[0], subject.client
    task = f"compare {client}"
    keys = base_key(recipe, material, probe=probe), prompted_key(recipe, material)
    base, prompted = (bench.found(client, key) for key in keys)
    tuned: Tuned | None = None
    inputs = {"base": recipe.base.digest, "dataset": recipe.dataset_digest}
    bench.listener(Progress(task=f"{task}: untuned base", done=0, total=2, unit="baselines"))
    if base is None:
        started = time.perf_counter()
        tuned = _load_untuned(recipe, bench.device)
        scores = _score(tuned, material, score(tuned, material.heldout))
        if probe and spoken is None:
            spoken = speak_as_base(recipe, bench.device)
        base = Cell(
            status="done",
            seconds=time.perf_counter() - started,
            spoken=spoken if probe else None,
            **scores,
        )
        bench.keep(client, keys[0], base, inputs)
    bench.listener(Progress(task=f"{task}: prompted base", done=1, total=2, unit="baselines"))
    if prompted is None:
        started = time.perf_counter()
        tuned = tuned or _load_untuned(recipe, bench.device)
        heldout = score(tuned, material.prompted)
        prompted = Cell(status="done", seconds=time.perf_counter() - started, heldout=heldout)
        bench.keep(client, keys[1], prompted, inputs)
    bench.listener(Progress(task=f"{task}: prompted base", done=2, total=2, unit="baselines"))
    return base, prompted


def measure_trial(
    recipe: Recipe,
    subject: Subject,
    learn: Sequence[Encoded],
    judge: Sequence[Encoded],
    bench: Workbench,
    *,
    out_of_time: Callable[[], bool],
) -> Cell:
    """A short run of a sweep, scored on training pages that it did not learn from."""
    key = trial_key(recipe)
    if cell := bench.found(subject.client, key):
        return cell
    started = time.perf_counter()
    label = find_method(recipe.method).label
    task = f"compare {subject.client}: {label} at {recipe.run.learning_rate:.1e}"
    try:
        tuning = tune(
            recipe,
            learn,
            judge,
            device=bench.device,
            folder=subject.folder / recipe.digest[:16],
            task=task,
            loss_before=0.0,  # nobody looks at a trial's curve
            checkpoint_seconds=bench.checkpoint_seconds,
            listener=bench.listener,
            should_stop=bench.should_stop,
            out_of_time=out_of_time,
        )
        cell = Cell(
            status="cut" if tuning.result.out_of_time else "done",
            seconds=time.perf_counter() - started,
            heldout=tuning.result.heldout,
            train_seconds=tuning.result.seconds,
            tokens=tuning.result.tokens,
        )
    except (OutOfMemory, Diverged) as error:
        cell = _failed(error, started)
    bench.keep(subject.client, key, cell, recipe.inputs)
    clear_run(subject.folder / recipe.digest[:16])
    return cell


def measure_run(
    recipe: Recipe,
    subject: Subject,
    material: Material,
    base: Cell,
    bench: Workbench,
    *,
    repeat: int,
    probe: bool,
    out_of_time: Callable[[], bool],
) -> Cell:
    """Train by a recipe, or take the adapter that was, and score it.

    A run that time ends is scored as far as it came, and leaves its checkpoint. `repeat` counts the
    method's runs from 0, for the words of its progress.
    """
    key = run_key(recipe, material, probe=probe)
    if cell := bench.found(subject.client, key):
        return cell
    started = time.perf_counter()
    free_memory()
    try:
        done = subject.trained.get(recipe.digest)
        if done is not None:
            cell = _retaken(recipe, done, material, bench, probe=probe)
        else:
            label = find_method(recipe.method).label + (f", seed {repeat + 1}" if repeat else "")
            task = f"compare {subject.client}: {label}"
            cell = _trained(recipe, subject, material, base, bench, task, probe, out_of_time)
        cell = dataclasses.replace(cell, seconds=time.perf_counter() - started)
    except (OutOfMemory, Diverged) as error:
        cell = _failed(error, started)
    bench.keep(subject.client, key, cell, recipe.inputs)
    if bench.shelf and cell.status != "cut":
        clear_run(subject.folder / recipe.digest[:16])
    return cell


def _trained(
    recipe: Recipe,
    subject: Subject,
    material: Material,
    base: Cell,
    bench: Workbench,
    task: str,
    probe: bool,
    out_of_time: Callable[[], bool],
) -> Cell:
    tuning = tune(
        recipe,
        material.train,
        material.heldout,
        device=bench.device,
        folder=subject.folder / recipe.digest[:16],
        task=task,
        loss_before=mean_loss(base.heldout),
        checkpoint_seconds=bench.checkpoint_seconds,
        listener=bench.listener,
        should_stop=bench.should_stop,
        out_of_time=out_of_time,
    )
    result = tuning.result
    cell = Cell(
        status="cut" if result.out_of_time else "done",
        error=_cut_message(tuning, material) if result.out_of_time else None,
        seconds=0.0,
        trainable_parameters=tuning.tuned.trainable_parameters,
        peak_memory_bytes=tuning.peak_memory_bytes,
        train_seconds=result.seconds,
        tokens=result.tokens,
        curve=result.curve,
        **_score(tuning.tuned, material, result.heldout),
    )
    with tempfile.TemporaryDirectory(dir=subject.folder) as aside:
        tuning.save(Path(aside))
        del tuning, result
        size = folder_bytes(Path(aside))
        spoken = speak(recipe, Path(aside), bench.device) if probe else None
    return dataclasses.replace(cell, artifact_bytes=size, spoken=spoken)


def _retaken(
    recipe: Recipe, done: Trained, material: Material, bench: Workbench, *, probe: bool
) -> Cell:
    open_artifact(done.path)
    facts = done.facts
    base = load_base(
        recipe.base,
        device=bench.device,
        dtype=recipe.dtype,
        attention=ATTENTION,
        quantisation=find_method(recipe.method).quantisation(recipe.own),
    )
    tuned = load_adapter(base, done.path, bound_to=recipe.base.digest)
    scores = _score(tuned, material, score(tuned, material.heldout))
    del tuned, base
    return Cell(
        status="done",
        seconds=0.0,
        trainable_parameters=facts["trainable_parameters"],
        peak_memory_bytes=facts["peak_memory_bytes"],
        train_seconds=float(facts["train_seconds"]),
        tokens=facts["tokens"],
        clients_in_pass=facts.get("clients_in_pass", 1),
        artifact_bytes=folder_bytes(done.path),
        curve=tuple(LossPoint(**point) for point in facts["curve"]),
        spoken=speak(recipe, done.path, bench.device) if probe else None,
        **scores,
    )


def _score(tuned: Tuned, material: Material, heldout: tuple[ExampleLoss, ...]) -> dict[str, Any]:
    """The three groups of losses of a cell."""
    return {
        "heldout": heldout,
        "general": score(tuned, material.general),
        "others": score(tuned, material.others) if material.others else (),
    }


def _failed(error: CopydeskError, started: float) -> Cell:
    return Cell(
        status="out_of_memory" if isinstance(error, OutOfMemory) else "diverged",
        error=str(error),
        seconds=time.perf_counter() - started,
    )


def _cut_message(tuning: Tuning, material: Material) -> str:
    planned = len(plan_steps(material.train, tuning.recipe.run))
    return (
        f"The budget ended it after {tuning.result.steps} of {planned} steps. "
        "Run the same command again to go on from there, or give it more with --budget."
    )


def _load_untuned(recipe: Recipe, device: torch.device) -> Tuned:
    return untuned(load_base(recipe.base, device=device, dtype=recipe.dtype, attention=ATTENTION))
