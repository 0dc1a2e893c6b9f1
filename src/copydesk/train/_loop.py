"""The loop.

A step packs its examples, runs them in micro-batches (which bounds memory whatever `batch_tokens`
is), and divides by the answer tokens of the whole step, so that micro-batches of unequal size add
up to the gradient of the step's mean. Everything random is drawn from the seed and the step's
number: a resumed run needs no random state, and equals an uninterrupted one.
"""

import contextlib
import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from copydesk.errors import Diverged, InvalidInput
from copydesk.evaluate import mean_loss, score
from copydesk.models import Encoded, ExampleLoss, Tuned, backward_loss, pack, split_by_tokens
from copydesk.records import Listener, LossPoint, Progress, ignore_progress
from copydesk.train._capacity import (
    free_bytes,
    measure_need,
    memory_errors,
    micro_tokens,
    used_bytes,
)
from copydesk.train._checkpoint import (
    Position,
    read_best,
    read_checkpoint,
    write_best,
    write_checkpoint,
)
from copydesk.train._marker import run_marker
from copydesk.train._metrics import MetricSink, TrackerName, metric_sinks
from copydesk.train._optimizers import make_optimizer, set_rate
from copydesk.train._plan import plan_steps, rate_at, scoring_steps
from copydesk.train._settings import RunSettings
from copydesk.train._watch import STEPS, DivergenceWatch, best_of

CHECKPOINT_SHARE = 0.05
"""At most this share of the time goes into checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a finished run knows of itself."""

    steps: int
    """Steps that were run; fewer than planned where it stopped early."""
    seconds: float
    """Training alone: no loading, evaluation or checkpoint."""
    tokens: int
    """Prompt and answer tokens that were trained on, repeats counted."""
    curve: tuple[LossPoint, ...]
    heldout: tuple[ExampleLoss, ...]
    """Loss of each held-out example with the weights that are kept."""
    kept_step: int
    """The step whose weights are kept: the last, or with early stopping the best."""
    stopped_early: bool
    resumed_at: int
    """The step of the checkpoint that the run went on from; 0 for a fresh run."""
    micro_tokens: int
    """Tokens run at once, or the longest example where that is longer."""


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
    trackers: Sequence[TrackerName] = (),
    listener: Listener = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train, going on from the newest checkpoint of the same run in `folder`.

    Args:
        tuned: a base under a method; its parameters are changed in place.
        examples: to train on, at least one.
        heldout: scored before, on the way as the settings say, and at the end.
        run: the settings.
        run_digest: identity of data, base, method and settings; checkpoints of others are ignored.
        folder: the run's own; gets `checkpoint-*`, `best-*` and `metrics.jsonl`.
        task: what the progress events and trackers call this run.
        loss_before: the base's held-out loss, where it is known already; else it is scored.
        checkpoint_seconds: time between checkpoints; longer where they would cost too much.
        trackers: where figures go beside `metrics.jsonl`.
        listener: receives an event a step, with `loss`, `tokens_per_second`, `memory_bytes` and
            `seconds_left` (of training alone).
        should_stop: asked after every step; true writes a checkpoint and raises KeyboardInterrupt.

    Raises:
        InvalidInput: the optimiser does not go with the weights or the device, a tracker is not
            installed, or early stopping has nothing to score.
        Diverged: a loss or gradient is not finite, or the loss has exploded.
        OutOfMemory: the memory does not suffice; before the first step where that can be told.
        NoRoom: the disk is full; the last checkpoint stands.
        KeyboardInterrupt: `should_stop` said so.
    """
    if run.early_stopping_patience is not None and not heldout:
        raise InvalidInput(
            "Early stopping needs held-out pages", where="early_stopping_patience", todo="Unset it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    steps = plan_steps(examples, run)
    longest = max(len(example.ids) for example in examples)
    device = tuned.base.device
    optimizer = make_optimizer(
        tuned,
        run.optimizer,
        learning_rate=run.learning_rate,
        weight_decay=run.weight_decay,
        seed=run.seed,
    )
    smaller = f"Run less at once: --set max_length={max(16, longest // 2)}, or a smaller base."
    with memory_errors("Training", device, smaller), run_marker(folder):
        need = measure_need(tuned, examples, run)
        micro = micro_tokens(need, longest, free_bytes(device))
        position = read_checkpoint(
            folder,
            run_digest,
            tuned.parameters,
            optimizer,
            needs_best=run.early_stopping_patience is not None,
        )
        resumed_at = position.step if position else 0
        if position is None:
            if loss_before is None:
                loss_before = mean_loss(score(tuned, heldout))
            first = LossPoint(step=0, seconds=0.0, heldout_loss=loss_before)
            position = Position(step=0, seconds=0.0, tokens=0, curve=(first,), micro_tokens=micro)
        name = f"{task} {run_digest[:8]}"
        with metric_sinks(trackers, folder, run_name=name, done=position.step) as sinks:
            session = _Session(
                tuned=tuned,
                optimizer=optimizer,
                steps=steps,
                heldout=heldout,
                run=run,
                run_digest=run_digest,
                folder=folder,
                micro=min(micro, position.micro_tokens),
                sinks=sinks,
            )
            listener(Progress(task=task, done=position.step, total=len(steps)))
            return session.go_on(
                position,
                _Clock(checkpoint_seconds),
                lambda done, values: listener(
                    Progress(task=task, done=done, total=len(steps), values=values)
                ),
                should_stop,
                resumed_at,
            )


@dataclass(slots=True, kw_only=True)
class _Session:
    """A run from its position to its end."""

    tuned: Tuned
    optimizer: torch.optim.Optimizer
    steps: Sequence[Sequence[Encoded]]
    heldout: Sequence[Encoded]
    run: RunSettings
    run_digest: str
    folder: Path
    micro: int
    sinks: Sequence[MetricSink]

    def go_on(
        self,
        position: Position,
        clock: "_Clock",
        tell: Callable[[int, dict[str, float]], None],
        should_stop: Callable[[], bool],
        resumed_at: int,
    ) -> TrainResult:
        total = len(self.steps)
        scoring = scoring_steps(total, self.run)
        patience = self.run.early_stopping_patience
        watch = DivergenceWatch(position.curve)
        scored: tuple[ExampleLoss, ...] = ()
        stopped = False
        while position.step < total and not stopped:
            before = position
            position, norm = self._advance(position)
            scored = ()
            if position.step in scoring:
                scored = score(self.tuned, self.heldout)
                position = _with_heldout(position, mean_loss(scored))
                stopped = patience is not None and self._keep_best(position, patience)
            figures = self._figures(before, position, norm)
            for sink in self.sinks:
                sink.log(position.step, figures)
            tell(position.step, _shown(figures, position, total))
            if watch.add(position.curve[-1]):
                raise self._exploded(position)
            more = position.step < total and not stopped
            stopping = more and should_stop()
            if stopping or (more and clock.is_due()):
                with clock.writing():
                    write_checkpoint(
                        self.folder,
                        self.run_digest,
                        position,
                        self.tuned.parameters,
                        self.optimizer,
                    )
            if stopping:
                raise KeyboardInterrupt
        kept = position.step
        best = best_of(position.curve) if patience is not None else None
        if best and best.step != position.step:
            read_best(self.folder, best.step, self.tuned.parameters)
            kept, scored = best.step, ()
        return TrainResult(
            steps=position.step,
            seconds=position.seconds,
            tokens=position.tokens,
            curve=position.curve,
            heldout=scored or score(self.tuned, self.heldout),
            kept_step=kept,
            stopped_early=position.step < total,
            resumed_at=resumed_at,
            micro_tokens=self.micro,
        )

    def _advance(self, position: Position) -> tuple[Position, float]:
        """Do a step; returns where that leads and the gradient's norm."""
        started = time.perf_counter()
        batch = self.steps[position.step]
        loss, norm = self._step(batch, position.step)
        seconds = position.seconds + time.perf_counter() - started
        point = LossPoint(step=position.step + 1, seconds=seconds, train_loss=loss)
        after = Position(
            step=point.step,
            seconds=seconds,
            tokens=position.tokens + sum(len(example.ids) for example in batch),
            curve=(*position.curve, point),
            micro_tokens=self.micro,
        )
        return after, norm

    def _step(self, batch: Sequence[Encoded], step: int) -> tuple[float, float]:
        """One optimiser step; returns the mean loss in nats a token and the gradient's norm."""
        targets = sum(example.answer_length for example in batch)
        parameters: list[Any] = list(self.tuned.parameters.values())
        device = self.tuned.base.device
        self.tuned.model.train()
        loss = 0.0
        with torch.random.fork_rng(devices=_rng_devices(device)):
            torch.manual_seed(self.run.seed * 1_000_003 + step)
            for part in split_by_tokens(batch, self.micro):
                packed = pack(part).to(device)
                loss += backward_loss(self.tuned, packed, divisor=targets)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.run.max_grad_norm))
        loss /= targets
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad()
            raise Diverged(
                f"The loss stopped being a number at step {step + 1}", todo=self._calmer()
            )
        set_rate(self.optimizer, rate_at(step, len(self.steps), self.run))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, norm

    def _keep_best(self, position: Position, patience: int) -> bool:
        """Keep the weights where they are the best yet; true when patience has run out."""
        best = best_of(position.curve)
        assert best is not None
        if best.step == position.step:
            write_best(self.folder, self.run_digest, best.step, self.tuned.parameters)
        return best.scorings_since >= patience

    def _figures(
        self, before: Position, position: Position, norm: float
    ) -> dict[str, float | None]:
        point = position.curve[-1]
        seconds = position.seconds - before.seconds
        return {
            "seconds": point.seconds,
            "train_loss": point.train_loss,
            "heldout_loss": point.heldout_loss,
            "gradient_norm": norm,
            "learning_rate": rate_at(before.step, len(self.steps), self.run),
            "tokens_per_second": (position.tokens - before.tokens) / seconds,
            "memory_bytes": used_bytes(self.tuned.base.device),
        }

    def _exploded(self, position: Position) -> Diverged:
        return Diverged(
            f"The loss is {position.curve[-1].train_loss:.2f} at step {position.step} and has been "
            f"far above where it started for {STEPS} steps",
            todo=self._calmer(),
        )

    def _calmer(self) -> str:
        third = self.run.learning_rate / 3
        return (
            f"Try a third of the learning rate: --set learning_rate={third:g}; "
            "or a longer warm-up: --set warmup_ratio=0.3"
        )


def _with_heldout(position: Position, loss: float) -> Position:
    *earlier, last = position.curve
    return replace(position, curve=(*earlier, replace(last, heldout_loss=loss)))


def _shown(figures: dict[str, float | None], position: Position, total: int) -> dict[str, float]:
    """What a progress event carries."""
    values = {
        "loss": figures["train_loss"],
        "tokens_per_second": figures["tokens_per_second"],
        "memory_bytes": figures["memory_bytes"],
        "seconds_left": position.seconds / position.step * (total - position.step),
    }
    return {name: value for name, value in values.items() if value is not None}


def _rng_devices(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []


class _Clock:
    """When the next checkpoint is due: by time, and never above a share of the time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._cost = 0.0

    def is_due(self) -> bool:
        wait = max(self._seconds, self._cost / CHECKPOINT_SHARE) if self._seconds else 0.0
        return time.monotonic() - self._last >= wait

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        started = time.monotonic()
        yield
        self._last = time.monotonic()
        self._cost = self._last - started
