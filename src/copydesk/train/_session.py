"""A run, one optimiser step at a time, so that one caller can drive it or many together.

A step packs its examples, their common start once, runs them in micro-batches (which bounds memory
whatever `batch_tokens` is), and divides by the answer tokens of the whole step, so that
micro-batches of unequal size add up to the gradient of the step's mean. Everything random is drawn
from the seed and the step's number: a resumed run needs no random state, and equals an
uninterrupted one.
"""

import contextlib
import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from copydesk.errors import Diverged, InvalidInput
from copydesk.evaluate import mean_loss, score
from copydesk.models import (
    Batch,
    Encoded,
    ExampleLoss,
    Share,
    Tuned,
    backward_batches,
    families_of,
    make_lanes,
    pack_families,
    rows_of,
    shares_starts,
    split_by_tokens,
)
from copydesk.records import Listener, LossPoint, Progress
from copydesk.train._capacity import (
    Need,
    free_bytes,
    measure_need,
    micro_tokens,
    tokens_at_once,
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
    """Patience ran out, or time."""
    out_of_time: bool
    """The caller's time was up before the last step; a checkpoint of the last one run is there."""
    resumed_at: int
    """The step of the checkpoint that the run went on from; 0 for a fresh run."""
    micro_tokens: int
    """Tokens run at once, or the longest example where that is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A micro-batch of a step."""

    families: Sequence[Sequence[Encoded]]
    """Examples, by whether their common start is laid once."""
    share: Share
    """Of the step."""

    @property
    def rows(self) -> int:
        """Tokens that it runs."""
        return rows_of(self.families)


class Session:
    """A run between its start and its end. Enter it, then step until it is `done`."""

    def __init__(
        self,
        tuned: Tuned,
        examples: Sequence[Encoded],
        heldout: Sequence[Encoded],
        *,
        run: RunSettings,
        run_digest: str,
        folder: Path,
        task: str,
        loss_before: float | None,
        checkpoint_seconds: float,
        trackers: Sequence[TrackerName],
        listener: Listener,
        need: Need | None = None,
    ) -> None:
        """Take what `train` takes, and the run's need where it was measured already; nothing is
        read or run before the session is entered."""
        if run.early_stopping_patience is not None and not heldout:
            raise InvalidInput(
                "Early stopping needs held-out pages",
                where="early_stopping_patience",
                todo="Unset it.",
            )
        self.tuned = tuned
        self.task = task
        self._examples = examples
        self._heldout = heldout
        self._run = run
        self._run_digest = run_digest
        self._folder = folder
        self._loss_before = loss_before
        self._trackers = trackers
        self._listener = listener
        self._steps = plan_steps(examples, run)
        self._scoring = scoring_steps(len(self._steps), run)
        self._clock = _Clock(checkpoint_seconds)
        self._scored: tuple[ExampleLoss, ...] = ()
        self._stopped = False
        self._out_of_time = False
        self._norm = 0.0
        self._need = need
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Go to the newest checkpoint of the same run, or score the start."""
        with contextlib.ExitStack() as stack:
            self._folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(run_marker(self._folder))
            self._optimizer = make_optimizer(
                self.tuned,
                self._run.optimizer,
                learning_rate=self._run.learning_rate,
                weight_decay=self._run.weight_decay,
                seed=self._run.seed,
            )
            position = self._position()
            self.micro = position.micro_tokens
            self._lanes = make_lanes(self.tuned, self.micro)
            self._shares_starts = shares_starts(self.tuned, training=True)
            self._resumed_at = position.step
            self._watch = DivergenceWatch(position.curve)
            self._place = position
            name = f"{self.task} {self._run_digest[:8]}"
            self._sinks: Sequence[MetricSink] = stack.enter_context(
                metric_sinks(self._trackers, self._folder, run_name=name, done=position.step)
            )
            self._exit = stack.pop_all()
        self._tell({})
        return self

    def __exit__(self, *error: Any) -> None:
        self._exit.__exit__(*error)

    @property
    def done(self) -> bool:
        """Nothing is left to train."""
        return self._stopped or self._place.step >= len(self._steps)

    @property
    def batch(self) -> Sequence[Encoded]:
        """The examples of the step that is next."""
        return self._steps[self._place.step]

    def parts(self) -> list["Part"]:
        """The next step's examples in micro-batches."""
        divisor = sum(example.answer_length for example in self.batch)
        first = (self._run.seed * 1_000_003 + self._place.step) * 65_537
        found: list[Part] = []
        shared = self._shares_starts
        for part in split_by_tokens(self.batch, self._lanes.tokens, shared=shared):
            seeds = tuple(range(first, first + len(part)))
            first += len(part)
            share = Share(
                adapter=self.tuned.adapter, examples=len(part), divisor=divisor, seeds=seeds
            )
            found.append(Part(families=families_of(part, shared), share=share))
        return found

    def accumulate(self) -> float:
        """Run the next step's examples, forward and backward; returns their summed loss."""
        device = self.tuned.base.device
        if not self.tuned.model.training:
            self.tuned.model.train()
        parameters = tuple(self.tuned.parameters.values())
        batches = [
            Batch(
                tuned=self.tuned,
                packed=pack_families(part.families).to(device),
                shares=(part.share,),
                parameters=parameters,
            )
            for part in self.parts()
        ]
        with torch.random.fork_rng(devices=_rng_devices(device)):
            torch.manual_seed(self._run.seed * 1_000_003 + self._place.step)
            return sum(loss for (loss,) in backward_batches(batches, self._lanes))

    def apply(self, loss: float) -> None:
        """Clip the gradients that lie in the parameters, step, and let go of them.

        Args:
            loss: summed over the step's answers, in nats.

        Raises:
            Diverged: the loss or a gradient is not finite.
        """
        step = self._place.step
        parameters: list[Any] = list(self.tuned.parameters.values())
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self._run.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._optimizer.zero_grad()
            raise Diverged(
                f"The loss stopped being a number at step {step + 1}", todo=self._calmer()
            )
        set_rate(self._optimizer, rate_at(step, len(self._steps), self._run))
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._norm = norm

    def record(self, loss: float, seconds: float) -> None:
        """Go on to the next step, after `apply`: score, log and write a checkpoint as it is due.

        Args:
            loss: summed over the step's answers, in nats.
            seconds: that the step took.

        Raises:
            Diverged: the loss has exploded.
        """
        before = self._place
        targets = sum(example.answer_length for example in self.batch)
        seconds += before.seconds
        point = LossPoint(step=before.step + 1, seconds=seconds, train_loss=loss / targets)
        self._place = Position(
            step=point.step,
            seconds=seconds,
            tokens=before.tokens + sum(len(example.ids) for example in self.batch),
            curve=(*before.curve, point),
            micro_tokens=self.micro,
        )
        self._scored = ()
        if point.step in self._scoring:
            self._score()
        figures = self._figures(before)
        for sink in self._sinks:
            sink.log(point.step, figures)
        self._tell(figures)
        if self._watch.add(self._place.curve[-1]):
            raise Diverged(
                f"The loss is {loss / targets:.2f} at step {point.step} and has been far above "
                f"where it started for {STEPS} steps",
                todo=self._calmer(),
            )
        if not self.done and self._clock.is_due():
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write a checkpoint now."""
        with self._clock.writing():
            write_checkpoint(
                self._folder,
                self._run_digest,
                self._place,
                self.tuned.parameters,
                self._optimizer,
            )

    def end(self) -> None:
        """Let the step that was last taken be the last, leaving a checkpoint to go on from.

        The scoring of the end is not in the checkpoint: the run that goes on has none there.
        """
        self.checkpoint()
        if self._place.curve[-1].heldout_loss is None:
            self._score()
        self._stopped = self._out_of_time = True

    def result(self) -> TrainResult:
        """What the finished run knows; with early stopping the best weights are put back first."""
        assert self.done
        place = self._place
        kept = place.step
        early = self._run.early_stopping_patience is not None
        best = best_of(place.curve) if early else None
        if best and best.step != place.step:
            read_best(self._folder, best.step, self.tuned.parameters)
            kept, self._scored = best.step, ()
        return TrainResult(
            steps=place.step,
            seconds=place.seconds,
            tokens=place.tokens,
            curve=place.curve,
            heldout=self._scored or score(self.tuned, self._heldout),
            kept_step=kept,
            stopped_early=place.step < len(self._steps),
            out_of_time=self._out_of_time,
            resumed_at=self._resumed_at,
            micro_tokens=self.micro,
        )

    def _position(self) -> Position:
        longest = max(len(example.ids) for example in self._examples)
        need = self._need or measure_need(self.tuned, self._examples, self._run)
        device = self.tuned.base.device
        micro = micro_tokens(
            need, tokens_at_once(device.type, self._run.batch_tokens), longest, free_bytes(device)
        )
        position = read_checkpoint(
            self._folder,
            self._run_digest,
            self.tuned.parameters,
            self._optimizer,
            needs_best=self._run.early_stopping_patience is not None,
        )
        if position is not None:
            return replace(position, micro_tokens=min(micro, position.micro_tokens))
        before = self._loss_before
        if before is None:
            before = mean_loss(score(self.tuned, self._heldout))
        first = LossPoint(step=0, seconds=0.0, heldout_loss=before)
        return Position(step=0, seconds=0.0, tokens=0, curve=(first,), micro_tokens=micro)

    def _score(self) -> None:
        self._scored = score(self.tuned, self._heldout)
        *earlier, last = self._place.curve
        scored = replace(last, heldout_loss=mean_loss(self._scored))
        self._place = replace(self._place, curve=(*earlier, scored))
        patience = self._run.early_stopping_patience
        if patience is None:
            return
        best = best_of(self._place.curve)
        assert best is not None
        if best.step == self._place.step:
            write_best(self._folder, self._run_digest, best.step, self.tuned.parameters)
        self._stopped = best.scorings_since >= patience

    def _figures(self, before: Position) -> dict[str, float | None]:
        place, point = self._place, self._place.curve[-1]
        seconds = place.seconds - before.seconds
        return {
            "seconds": point.seconds,
            "train_loss": point.train_loss,
            "heldout_loss": point.heldout_loss,
            "gradient_norm": self._norm,
            "learning_rate": rate_at(before.step, len(self._steps), self._run),
            "tokens_per_second": (place.tokens - before.tokens) / seconds,
            "memory_bytes": used_bytes(self.tuned.base.device),
        }

    def _tell(self, figures: dict[str, float | None]) -> None:
        place, total = self._place, len(self._steps)
        values = {
            "loss": figures.get("train_loss"),
            "tokens_per_second": figures.get("tokens_per_second"),
            "memory_bytes": figures.get("memory_bytes"),
            "seconds_left": place.seconds / place.step * (total - place.step) if figures else None,
        }
        shown = {name: value for name, value in values.items() if value is not None}
        self._listener(Progress(task=self.task, done=place.step, total=total, values=shown))

    def _calmer(self) -> str:
        third = self._run.learning_rate / 3
        return (
            f"Try a third of the learning rate: --set learning_rate={third:g}; "
            "or a longer warm-up: --set warmup_ratio=0.3"
        )


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
