"""Measure methods on held-out pages, beside two baselines that need no training."""

import datetime
import platform
from collections.abc import Callable
from importlib.metadata import version

import torch

from copydesk.records import Comparison, Listener, ignore_progress
from copydesk.study._cells import CellShelf
from copydesk.study._hardware import Machine
from copydesk.study._measure import Workbench
from copydesk.study._predict import predict_runs, with_prediction
from copydesk.study._question import Question, encode_subject
from copydesk.study._rows import baseline_rows, method_row, recommended, with_shares
from copydesk.study._schedule import measure_all
from copydesk.study._verdict import verdict


def compare(
    question: Question,
    *,
    device: torch.device,
    machine: Machine | None = None,
    shelf: CellShelf | None = None,
    checkpoint_seconds: float = 60.0,
    listener: Listener = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Score the untuned base, the prompted base and every method on the same held-out pages.

    A method that runs out of memory, diverges or is cut by the budget keeps its row and says so.
    Losses are nats a token over the answers; intervals are bootstrapped over documents and seeds.

    Args:
        question: clients, methods, and how thoroughly to look.
        device: where to train and score.
        machine: the device's card, by which memory and time are predicted; None predicts nothing.
        shelf: where cells are kept, and found by later calls.
        checkpoint_seconds: at most this much training is lost to a crash.
        listener: receives progress.
        should_stop: asked between cells and after every step.

    Raises:
        KeyboardInterrupt: `should_stop` said so; the same call goes on from there.
        NotEnoughText: a client's examples do not fit into `max_length`.
    """
    bench = Workbench(
        device=device,
        shelf=shelf,
        checkpoint_seconds=checkpoint_seconds,
        listener=listener,
        should_stop=should_stop,
    )
    materials = tuple(encode_subject(subject) for subject in question.subjects)
    predicted = predict_runs(question, materials, machine, listener) if machine else {}
    measured = measure_all(question, materials, bench)
    rows = baseline_rows(measured.base, measured.prompted)
    rows += [
        with_prediction(
            method_row(
                method,
                measured.pools[method],
                measured.base,
                question=question,
                rate=measured.recipes[method].run.learning_rate,
                sweep=measured.sweeps[method],
                epoch_tokens=[material.epoch_tokens for material in materials],
            ),
            predicted.get(method),
        )
        for method in question.methods
    ]
    pools = {"base": measured.base, "prompted": measured.prompted, **measured.pools}
    finished = with_shares(rows, pools)
    return Comparison(
        client=" + ".join(question.clients),
        base=question.subjects[0].recipes[0].base.name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=_machine(device),
        train_documents=sum(len(subject.train) for subject in question.subjects),
        heldout_documents=sum(len(subject.heldout) for subject in question.subjects),
        train_tokens=sum(material.epoch_tokens for material in materials),
        heldout_tokens=sum(loss.tokens for cell in measured.base.cells for loss in cell.heldout),
        rows=finished,
        verdict=verdict(finished),
        versions=_library_versions(),
        settings={
            method: {key: str(value) for key, value in recipe.settings.items()}
            for method, recipe in measured.recipes.items()
        },
        clients=question.clients,
        budget_seconds=question.budget_seconds,
        spent_seconds=measured.seconds,
        recommended=recommended(finished),
    )


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads, {platform.machine()}, {platform.system()}"


def _library_versions() -> dict[str, str]:
    names = ("copydesk", "torch", "transformers", "peft")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
