"""Measure methods on one client's held-out pages, beside two baselines that need no training."""

import dataclasses
import datetime
import itertools
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from copydesk.errors import CopydeskError, Diverged, NotEnoughText, OutOfMemory
from copydesk.evaluate import gain_share, general_chats, mean_loss, mean_loss_interval, score
from copydesk.models import (
    ATTENTION,
    Encoded,
    EncodedCache,
    ExampleLoss,
    Tuned,
    encode_example,
    encode_examples,
    find_method,
    free_memory,
    load_adapter,
    load_base,
    untuned,
)
from copydesk.records import (
    Comparison,
    Example,
    Listener,
    LossPoint,
    MethodRow,
    Progress,
    StyleGuide,
    ignore_progress,
)
from copydesk.store import folder_bytes
from copydesk.study._prompted import prompted_examples
from copydesk.study._verdict import verdict
from copydesk.train import Recipe, RunSettings, tune

_OTHERS = 12
"""Other clients' held-out pages that are scored, spread evenly over the clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """An adapter that was trained already by one of the compared recipes."""

    path: Path
    facts: Mapping[str, Any]
    """Of its manifest: train_seconds, peak_memory_bytes, tokens, curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is compared on whom."""

    client: str
    train: tuple[Example, ...]
    heldout: tuple[Example, ...]
    others: Mapping[str, tuple[Example, ...]]
    """Other clients' held-out examples."""
    guide: StyleGuide
    recipes: tuple[Recipe, ...]
    trained: Mapping[str, Trained] = field(default_factory=dict[str, Trained])
    """Run digest -> adapter, where one is there already."""
    hourly_usd: float | None = None
    """What an hour of this machine costs, when the user has said."""
    cache: EncodedCache | None = None
    """Where the client's encoded examples are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    heldout: tuple[ExampleLoss, ...]
    general: tuple[ExampleLoss, ...]
    others: tuple[ExampleLoss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """The encoded examples that every method is scored on."""

    train: tuple[Encoded, ...]
    heldout: tuple[Encoded, ...]
    prompted: tuple[Encoded, ...]
    general: tuple[Encoded, ...]
    others: tuple[Encoded, ...]


def compare(
    question: Question,
    *,
    device: torch.device,
    folder: Path,
    checkpoint_seconds: float = 60.0,
    listener: Listener = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Score the untuned base, the prompted base and every recipe on the same held-out pages.

    A method that runs out of memory or diverges keeps its row and says so. Losses are nats a token
    over the answers; intervals are bootstrapped over documents.

    Args:
        question: one client and the recipes; all on one base.
        device: where to train and score.
        folder: for runs' checkpoints; emptied of a run when it is done.
    """
    first = question.recipes[0]
    task = f"compare {question.client}"
    tuned = _untuned(first, device)
    probe = _encode(question, tuned, first.run)
    listener(Progress(task=f"{task}: untuned base", done=0, total=2, unit="baselines"))
    base_scores = _score_rest(tuned, probe, score(tuned, probe.heldout))
    listener(Progress(task=f"{task}: prompted base", done=1, total=2, unit="baselines"))
    prompted = score(tuned, probe.prompted)
    listener(Progress(task=f"{task}: prompted base", done=2, total=2, unit="baselines"))
    name = tuned.base.info.name
    del tuned
    rows = [
        _baseline_row("base", base_scores.heldout, base_scores),
        _baseline_row("prompted", prompted, base_scores),
    ]
    scores: dict[str, _Scores] = {}
    for recipe in question.recipes:
        row, found = _measure(
            recipe,
            question,
            probe,
            base_scores,
            device=device,
            folder=folder,
            checkpoint_seconds=checkpoint_seconds,
            listener=listener,
            should_stop=should_stop,
        )
        rows.append(row)
        if found:
            scores[recipe.method] = found
    finished = _with_shares(rows, scores, base_scores.heldout, prompted)
    return Comparison(
        client=question.client,
        base=name,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=_machine(device),
        train_documents=len(question.train),
        heldout_documents=len(question.heldout),
        train_tokens=sum(len(example.ids) for example in probe.train),
        heldout_tokens=sum(loss.tokens for loss in base_scores.heldout),
        rows=finished,
        verdict=verdict(finished),
        versions=_library_versions(),
        settings={
            recipe.method: {key: str(value) for key, value in recipe.settings.items()}
            for recipe in question.recipes
        },
    )


def _measure(
    recipe: Recipe,
    question: Question,
    probe: _Probe,
    base_scores: _Scores,
    *,
    device: torch.device,
    folder: Path,
    checkpoint_seconds: float,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> tuple[MethodRow, _Scores | None]:
    """Train by a recipe, or take the adapter that was, and score it."""
    free_memory()
    done = question.trained.get(recipe.digest)
    task = f"compare {question.client}: {find_method(recipe.method).label}"
    try:
        if done is not None:
            tuned = _retake(recipe, done, device)
            facts, size = dict(done.facts), folder_bytes(done.path)
            heldout = score(tuned, probe.heldout)
        else:
            tuning = tune(
                recipe,
                probe.train,
                probe.heldout,
                device=device,
                folder=folder / recipe.digest[:16],
                task=task,
                loss_before=mean_loss(base_scores.heldout),
                checkpoint_seconds=checkpoint_seconds,
                listener=listener,
                should_stop=should_stop,
            )
            tuned, heldout = tuning.tuned, tuning.result.heldout
            facts = {
                "train_seconds": tuning.result.seconds,
                "peak_memory_bytes": tuning.peak_memory_bytes,
                "tokens": tuning.result.tokens,
                "trainable_parameters": tuned.trainable_parameters,
                "curve": tuning.result.curve,
            }
            with tempfile.TemporaryDirectory(dir=folder) as aside:
                tuning.save(Path(aside))
                size = folder_bytes(Path(aside))
        scores = _score_rest(tuned, probe, heldout)
    except (OutOfMemory, Diverged) as error:
        return _failed_row(recipe, error), None
    return _row(recipe, facts, size, scores, base_scores, question.hourly_usd), scores


def _row(
    recipe: Recipe,
    facts: Mapping[str, Any],
    size: int,
    scores: _Scores,
    base: _Scores,
    hourly_usd: float | None,
) -> MethodRow:
    heldout = mean_loss_interval(scores.heldout)
    seconds = float(facts["train_seconds"])
    curve = tuple(
        point if isinstance(point, LossPoint) else LossPoint(**point) for point in facts["curve"]
    )
    return MethodRow(
        method=recipe.method,
        status="done",
        learning_rate=recipe.run.learning_rate,
        trainable_parameters=facts["trainable_parameters"],
        peak_memory_bytes=facts["peak_memory_bytes"],
        train_seconds=seconds,
        cost_usd=None if hourly_usd is None else hourly_usd * seconds / 3600,
        heldout_loss=heldout.value,
        heldout_loss_ci=(heldout.low, heldout.high),
        forgetting=mean_loss(scores.general) - mean_loss(base.general),
        general_loss=mean_loss(scores.general),
        others_loss=mean_loss(scores.others) if scores.others else None,
        others_change=mean_loss(scores.others) - mean_loss(base.others) if scores.others else None,
        artifact_bytes=size,
        tokens_per_second=facts["tokens"] / seconds if seconds else None,
        clients_in_pass=facts.get("clients_in_pass", 1),
        curve=curve,
    )


def _baseline_row(method: str, heldout: Sequence[ExampleLoss], base: _Scores) -> MethodRow:
    interval = mean_loss_interval(heldout)
    return MethodRow(
        method=method,
        status="done",
        trainable_parameters=0,
        train_seconds=0.0,
        heldout_loss=interval.value,
        heldout_loss_ci=(interval.low, interval.high),
        forgetting=0.0,
        general_loss=mean_loss(base.general),
        others_loss=mean_loss(base.others) if base.others else None,
        others_change=0.0 if base.others else None,
        artifact_bytes=0,
    )


def _failed_row(recipe: Recipe, error: CopydeskError) -> MethodRow:
    return MethodRow(
        method=recipe.method,
        status="out_of_memory" if isinstance(error, OutOfMemory) else "diverged",
        error=str(error),
        learning_rate=recipe.run.learning_rate,
    )


def _with_shares(
    rows: Sequence[MethodRow],
    scores: Mapping[str, _Scores],
    base: Sequence[ExampleLoss],
    prompted: Sequence[ExampleLoss],
) -> tuple[MethodRow, ...]:
    """Add each row's share of full fine-tuning's gain, where full was measured."""
    if "full" not in scores:
        return tuple(rows)
    losses = {"base": base, "prompted": prompted}
    losses |= {method: found.heldout for method, found in scores.items()}
    finished: list[MethodRow] = []
    for row in rows:
        share = (
            gain_share(losses[row.method], base, scores["full"].heldout)
            if row.method in losses
            else None
        )
        finished.append(
            dataclasses.replace(
                row,
                relative_performance=share.value,
                relative_performance_ci=(share.low, share.high),
            )
            if share
            else row
        )
    return tuple(finished)


def _encode(question: Question, tuned: Tuned, run: RunSettings) -> _Probe:
    """Everything that is trained and scored on.

    Raises:
        NotEnoughText: the limit on lengths leaves nothing to train on, or nothing to score.
    """
    tokenizer = tuned.base.tokenizer
    train = encode_examples(
        tokenizer,
        question.train,
        max_length=run.max_length,
        overlong=run.overlong,
        cache=question.cache,
    ).examples
    heldout = encode_examples(
        tokenizer, question.heldout, max_length=run.max_length, cache=question.cache
    ).examples
    if not train or not heldout:
        raise NotEnoughText(
            f"No example of {question.client} to {'score' if train else 'train on'} fits into "
            f"max_length={run.max_length}",
            todo="Raise it, or use overlong=cut.",
        )
    others = encode_examples(tokenizer, _spread(question.others), max_length=run.max_length)
    by_id = {example.id: example for example in question.heldout}
    return _Probe(
        train=train,
        heldout=heldout,
        prompted=tuple(
            encoded
            for name, references in itertools.groupby(heldout, key=lambda one: one.id)
            for encoded in prompted_examples(
                by_id[name],
                list(references),
                guide=question.guide,
                examples=question.train,
                tokenizer=tokenizer,
            )
        ),
        general=tuple(
            encode_example(tokenizer, name, chat, answer, max_length=run.max_length)
            for name, chat, answer in general_chats()
        ),
        others=others.examples,
    )


def _spread(others: Mapping[str, tuple[Example, ...]]) -> list[Example]:
    share = max(1, _OTHERS // max(1, len(others)))
    return [example for name in sorted(others) for example in others[name][:share]]


def _score_rest(tuned: Tuned, probe: _Probe, heldout: tuple[ExampleLoss, ...]) -> _Scores:
    return _Scores(
        heldout=heldout,
        general=score(tuned, probe.general),
        others=score(tuned, probe.others) if probe.others else (),
    )


def _untuned(recipe: Recipe, device: torch.device) -> Tuned:
    return untuned(load_base(recipe.base, device=device, dtype=recipe.dtype, attention=ATTENTION))


def _retake(recipe: Recipe, done: Trained, device: torch.device) -> Tuned:
    base = load_base(
        recipe.base,
        device=device,
        dtype=recipe.dtype,
        attention=ATTENTION,
        quantisation=find_method(recipe.method).quantisation(recipe.own),
    )
    return load_adapter(base, done.path, bound_to=recipe.base.digest)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads, {platform.machine()}, {platform.system()}"


def _library_versions() -> dict[str, str]:
    names = ("copydesk", "torch", "transformers", "peft")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
