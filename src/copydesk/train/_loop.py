"""The loop.

A step packs its examples, runs them in micro-batches of at most `MICRO_TOKENS` (which bounds
memory whatever `batch_tokens` is), and divides by the answer tokens of the whole step, so that
micro-batches of unequal size add up to the gradient of the step's mean. Everything random is drawn
from the seed and the step's number: a resumed run needs no random state, and equals an
uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from copydesk.errors import Diverged, OutOfMemory
from copydesk.evaluate import mean_loss, score
from copydesk.models import Encoded, ExampleLoss, Tuned, backward_loss, pack, split_by_tokens
from copydesk.records import Listener, LossPoint, Progress, ignore_progress
from copydesk.store import append_line
from copydesk.train._checkpoint import Position, read_checkpoint, write_checkpoint
from copydesk.train._plan import plan_steps, rate_at
from copydesk.train._settings import RunSettings

MICRO_TOKENS = 1024
"""Tokens run at once: enough to fill a CPU's matrix units, and it bounds the activations."""
CLIP_NORM = 1.0
SCORINGS = 2
"""Times that the held-out pages are scored on the way, evenly spread; the last is the end."""
CHECKPOINT_SHARE = 0.05
"""At most this share of the time goes into checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a finished run knows of itself."""

    steps: int
    seconds: float
    """Training alone: no loading, evaluation or checkpoint."""
    tokens: int
    """Prompt and answer tokens that were trained on, repeats counted."""
    curve: tuple[LossPoint, ...]
    heldout: tuple[ExampleLoss, ...]
    """Loss of each held-out example at the end."""
    resumed_at: int
    """The step of the checkpoint that the run went on from; 0 for a fresh run."""


def train(
    tuned: Tuned,
    examples: Sequence[Encoded],
    heldout: Sequence[Encoded],
    *,
    run: RunSettings,
    run_digest: str,
    folder: Path,
    task: str,
    loss_before: float | None = None,
    checkpoint_seconds: float = 60.0,
    listener: Listener = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train, going on from the newest checkpoint of the same run in `folder`.

    Args:
        tuned: a base under a method; its parameters are changed in place.
        examples: to train on, at least one.
        heldout: scored before, half-way and at the end.
        run: the settings.
        run_digest: identity of data, base, method and settings; checkpoints of others are ignored.
        folder: the run's own; gets `checkpoint-*` and `metrics.jsonl`.
        task: what the progress events call this run.
        loss_before: the base's held-out loss, where it is known already; else it is scored.
        checkpoint_seconds: time between checkpoints; longer where they would cost too much.
        listener: receives an event a step.
        should_stop: asked after every step; true writes a checkpoint and raises KeyboardInterrupt.

    Raises:
        Diverged: a loss or gradient is not finite.
        OutOfMemory: the device's memory does not suffice.
        NoRoom: the disk is full; the last checkpoint stands.
        KeyboardInterrupt: `should_stop` said so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = plan_steps(examples, run)
    optimizer = _optimizer(tuned, run)
    position = read_checkpoint(folder, run_digest, tuned.parameters, optimizer)
    resumed_at = position.step if position else 0
    if position is None:
        if loss_before is None:
            loss_before = mean_loss(score(tuned, heldout))
        first = LossPoint(step=0, seconds=0.0, heldout_loss=loss_before)
        position = Position(step=0, seconds=0.0, tokens=0, curve=(first,))
    scoring = {math.ceil(len(steps) * part / SCORINGS) for part in range(1, SCORINGS + 1)}
    checkpoint = _CheckpointClock(checkpoint_seconds)
    scored: tuple[ExampleLoss, ...] = ()
    listener(Progress(task=task, done=position.step, total=len(steps)))
    while position.step < len(steps):
        started = time.perf_counter()
        batch = steps[position.step]
        loss, gradient_norm = _step(tuned, optimizer, batch, run, position.step, len(steps))
        seconds = time.perf_counter() - started
        done = position.step + 1
        scored = ()
        if done in scoring:
            scored = score(tuned, heldout)
        point = LossPoint(
            step=done,
            seconds=position.seconds + seconds,
            train_loss=loss,
            heldout_loss=mean_loss(scored) if scored else None,
        )
        tokens = sum(len(example.ids) for example in batch)
        position = Position(
            step=done,
            seconds=point.seconds,
            tokens=position.tokens + tokens,
            curve=(*position.curve, point),
        )
        figures = {"loss": loss, "tokens_per_second": tokens / seconds}
        append_line(
            folder / "metrics.jsonl", asdict(point) | figures | {"gradient_norm": gradient_norm}
        )
        listener(Progress(task=task, done=done, total=len(steps), values=figures))
        stopping = should_stop() and done < len(steps)
        if stopping or (done < len(steps) and checkpoint.is_due()):
            with checkpoint.writing():
                write_checkpoint(folder, run_digest, position, tuned.parameters, optimizer)
        if stopping:
            raise KeyboardInterrupt
    return TrainResult(
        steps=position.step,
        seconds=position.seconds,
        tokens=position.tokens,
        curve=position.curve,
        heldout=scored or score(tuned, heldout),
        resumed_at=resumed_at,
    )


def _optimizer(tuned: Tuned, run: RunSettings) -> torch.optim.Optimizer:
    """AdamW without decay: clients' runs are short, and decay pulls towards no adapter at all."""
    return torch.optim.AdamW(
        list(tuned.parameters.values()),
        lr=run.learning_rate,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        fused=tuned.base.device.type in {"cpu", "cuda"},
    )


def _step(
    tuned: Tuned,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Encoded],
    run: RunSettings,
    step: int,
    total: int,
) -> tuple[float, float]:
    """One optimiser step; returns the mean loss in nats a token and the gradient's norm."""
    targets = sum(example.answer_length for example in batch)
    parameters: list[Any] = list(tuned.parameters.values())
    tuned.model.train()
    loss = 0.0
    try:
        with torch.random.fork_rng(devices=_rng_devices(tuned.base.device)):
            torch.manual_seed(run.seed * 1_000_003 + step)
            for part in split_by_tokens(batch, MICRO_TOKENS):
                packed = pack(part).to(tuned.base.device)
                loss += backward_loss(tuned, packed, divisor=targets)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"Training ran out of memory at step {step + 1}",
            todo="Lower max_length, choose lora, or use a smaller base.",
        ) from error
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM))
    loss /= targets
    if not (math.isfinite(loss) and math.isfinite(norm)):
        optimizer.zero_grad()
        raise Diverged(
            f"The loss stopped being a number at step {step + 1}",
            todo=f"Try a third of the learning rate: --set learning_rate={run.learning_rate / 3:g}",
        )
    for group in optimizer.param_groups:
        group["lr"] = rate_at(step, total, run.learning_rate)
    optimizer.step()
    optimizer.zero_grad()
    return loss, norm


def _rng_devices(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []


class _CheckpointClock:
    """When the next checkpoint is due: by time, and never above a share of the time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._cost = 0.0

    def is_due(self) -> bool:
        wait = max(self._seconds, self._cost / CHECKPOINT_SHARE) if self._seconds else 0.0
        return time.monotonic() - self._last >= wait

    def writing(self) -> "_CheckpointClock":
        return self

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._last = time.monotonic()
        self._cost = self._last - self._started
