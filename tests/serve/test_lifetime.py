"""Queues, deadlines, crashes, stopping; all of it counted in steps, not in seconds."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import ask, load, write_adapter

from copydesk.errors import Busy, Cancelled, EngineDown
from copydesk.models import Base
from copydesk.records import Generate, Piece, Sampling
from copydesk.serve import EngineSettings, LocalEngine, start_engine
from copydesk.serve._queue import FairQueue
from copydesk.serve._runner import Stretch
from copydesk.serve._tasks import Task

LONG = Sampling(max_new_tokens=350, temperature=0, repetition_penalty=1.0)
SETTINGS = EngineSettings(max_running=2, max_waiting=4, max_length=400)


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Base:
    return load(tiny_base, tmp_path)


@pytest.fixture
def engine(base: Base) -> Iterator[LocalEngine]:
    engine = start_engine(base, SETTINGS)
    yield engine
    engine.stop()


class Held:
    """Stops an engine's steps until it is let go."""

    def __init__(self, engine: LocalEngine) -> None:
        runner: Any = engine._runner
        self.go = threading.Event()
        self.inside = threading.Event()
        inner: Callable[[Sequence[Stretch]], torch.Tensor] = runner.run

        def run(stretches: Sequence[Stretch]) -> torch.Tensor:
            self.inside.set()
            assert self.go.wait(60)
            return inner(stretches)

        runner.run = run


def test_the_queue_is_bounded_and_says_when_to_come_again(engine: LocalEngine) -> None:
    held = Held(engine)
    running = [engine.submit(ask("first"))]
    assert held.inside.wait(60)
    waiting = [engine.submit(ask(f"wait {n}")) for n in range(4)]
    assert engine.state().waiting == 4
    with pytest.raises(Busy) as busy:
        engine.submit(ask("one more"))
    assert busy.value.retry_seconds >= 1
    held.go.set()
    for job in running + waiting:
        assert job.result(60).completion.tokens > 0
    assert engine.state().waiting == 0


def test_deadlines_end_what_waits_and_what_runs(engine: LocalEngine) -> None:
    held = Held(engine)
    late = [engine.submit(ask(f"{n}", sampling=LONG, deadline_seconds=0.05)) for n in range(4)]
    assert held.inside.wait(60)
    threading.Event().wait(0.1)
    held.go.set()
    for job in late:
        with pytest.raises(Cancelled, match=r"0\.05 seconds"):
            job.result(60)
    assert engine.state().running == 0


def test_a_crash_is_heard_by_all_and_the_engine_starts_again(
    engine: LocalEngine, base: Base, tmp_path: Path
) -> None:
    ref = write_adapter(base.info, tmp_path / "one", lora_r=4)
    before = engine.submit(ask("calm", ref)).result(60).completion.text
    runner: Any = engine._runner
    inner, calls, submitted = runner.run, [], threading.Event()

    def run(stretches: Sequence[Stretch]) -> torch.Tensor:
        assert submitted.wait(60)
        calls.append(len(stretches))
        if len(calls) == 3:
            raise MemoryError("none left")
        return inner(stretches)

    runner.run = run
    jobs = [engine.submit(ask(f"{n}", ref, sampling=LONG)) for n in range(4)]
    submitted.set()
    for job in jobs:
        with pytest.raises(EngineDown, match="MemoryError"):
            job.result(60)
    assert engine._thread is not None
    engine._thread.join(60)
    assert engine.state().status == "down"
    with pytest.raises(EngineDown):
        engine.submit(ask("x"))
    engine.start()
    assert engine.state().status == "ready"
    assert engine.submit(ask("calm", ref)).result(60).completion.text == before
    assert engine.state().running == engine.state().waiting == 0


def test_stopping_drains_then_ends_the_rest(base: Base) -> None:
    engine = start_engine(base, SETTINGS)
    jobs = [engine.submit(ask(f"{n}")) for n in range(4)]
    engine.stop(drain_seconds=60)
    assert all(job.result(0).completion.tokens for job in jobs)
    assert engine.state().status == "down"
    with pytest.raises(EngineDown):
        engine.submit(ask("x"))
    with pytest.raises(EngineDown, match="stopped"):
        engine.start()
    engine.stop()


def test_stopping_at_once_answers_everybody(base: Base) -> None:
    engine = start_engine(base, SETTINGS)
    ended: list[Any] = []
    jobs = [engine.submit(ask(f"{n}", sampling=LONG), on_end=ended.append) for n in range(4)]
    engine.stop()
    for job in jobs:
        try:
            job.result(0)
        except EngineDown:
            continue
    assert len(ended) == 4


def test_a_listener_that_fails_ends_its_own_request(engine: LocalEngine) -> None:
    def fail(_: Piece) -> None:
        raise ValueError("gone")

    bad = engine.submit(ask("x", sampling=LONG), on_piece=fail)
    good = engine.submit(ask("y"))
    assert good.result(60).completion.tokens > 0
    with pytest.raises(Cancelled):
        bad.result(60)
    assert engine.state().status == "ready"


def _task(share: str, tokens: int = 10) -> Task:
    sampling = Sampling(max_new_tokens=tokens)
    request = Generate(prompt="x", adapter=None, share=share, sampling=sampling)
    return Task(request, [1], limit=tokens, on_piece=None, on_end=None, wake=lambda: None)


def test_shares_take_turns_by_the_tokens_they_used() -> None:
    queue = FairQueue(100)
    for _ in range(8):
        queue.put(_task("many"))
    for _ in range(2):
        queue.put(_task("few"))
    order: list[str] = []
    while (task := queue.peek()) is not None:
        queue.remove(task)
        queue.charge(task.request.share, task.limit)
        order.append(task.request.share)
    assert order[:4].count("few") == 2
    assert len(order) == 10


def test_a_quiet_share_gathers_no_claim() -> None:
    queue = FairQueue(1000)
    for _ in range(50):
        queue.put(_task("busy"))
        task = queue.peek()
        assert task is not None
        queue.remove(task)
        queue.charge("busy", 10)
    for _ in range(20):
        queue.put(_task("busy"))
        queue.put(_task("new"))
    order: list[str] = []
    for _ in range(20):
        task = queue.peek()
        assert task is not None
        queue.remove(task)
        queue.charge(task.request.share, 10)
        order.append(task.request.share)
    assert 9 <= order.count("new") <= 11


def test_a_listener_that_fails_at_the_end_harms_nobody(engine: LocalEngine) -> None:
    def fail(_: Any) -> None:
        raise ValueError("gone")

    jobs = [engine.submit(ask(f"{n}"), on_end=fail) for n in range(3)]
    assert all(job.result(60).completion.tokens for job in jobs)
    assert engine.submit(ask("after")).result(60).completion.tokens
    assert engine.state().status == "ready"


def test_a_fault_while_a_task_gets_its_slot_is_heard(engine: LocalEngine) -> None:
    """The task that was between the queue and the batch is answered too."""
    runner: Any = engine._runner

    def fail(*_: Any) -> int:
        raise RuntimeError("no slot")

    runner.open = fail
    jobs = [engine.submit(ask(f"{n}")) for n in range(1)]
    for job in jobs:
        with pytest.raises(EngineDown, match="RuntimeError"):
            job.result(60)


def test_what_was_not_run_is_given_back_to_its_share(engine: LocalEngine) -> None:
    held = Held(engine)
    first = engine.submit(ask("hold", share="a"))
    assert held.inside.wait(60)
    dropped = [engine.submit(ask(f"{n}", share="b", sampling=LONG)) for n in range(3)]
    for job in dropped:
        job.cancel()
    held.go.set()
    for job in dropped:
        with pytest.raises(Cancelled):
            job.result(60)
    first.result(60)
    assert engine._queue._used["b"] < LONG.max_new_tokens


def test_stopping_frees_what_it_held(base: Base) -> None:
    engine = start_engine(base, SETTINGS)
    engine.submit(ask("x")).result(60)
    freed = weakref.ref(engine._runner)
    engine.stop()
    gc.collect()
    assert freed() is None
    assert engine.state().figures["finished_total"] == 1
