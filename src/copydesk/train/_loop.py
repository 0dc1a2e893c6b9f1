"""The loop of a run by itself."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from copydesk.models import Encoded, Tuned
from copydesk.records import Listener, ignore_progress
from copydesk.train._capacity import memory_errors
from copydesk.train._metrics import TrackerName
from copydesk.train._session import Session, TrainResult
from copydesk.train._settings import RunSettings


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
    out_of_time: Callable[[], bool] = lambda: False,
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
        out_of_time: asked after every step; true writes a checkpoint and ends the run with what it
            has, so that the same call goes on later.

    Raises:
        InvalidInput: the optimiser does not go with the weights or the device, a tracker is not
            installed, or early stopping has nothing to score.
        Diverged: a loss or gradient is not finite, or the loss has exploded.
        OutOfMemory: the memory does not suffice; before the first step where that can be told.
        NoRoom: the disk is full; the last checkpoint stands.
        KeyboardInterrupt: `should_stop` said so.
    """
    longest = max(len(example.ids) for example in examples)
    smaller = f"Run less at once: --set max_length={max(16, longest // 2)}, or a smaller base."
    session = Session(
        tuned,
        examples,
        heldout,
        run=run,
        run_digest=run_digest,
        folder=folder,
        task=task,
        loss_before=loss_before,
        checkpoint_seconds=checkpoint_seconds,
        trackers=trackers,
        listener=listener,
    )
    with memory_errors("Training", tuned.base.device, smaller), session:
        while not session.done:
            started = time.perf_counter()
            loss = session.accumulate()
            session.apply(loss)
            session.record(loss, time.perf_counter() - started)
            if not session.done and should_stop():
                session.checkpoint()
                raise KeyboardInterrupt
            if not session.done and out_of_time():
                session.end()
        return session.result()
