"""Merged copies: the same numbers, for whom they are made, and that nobody else is touched."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from engines import METHODS, ask, load, reference, write_adapter

from copydesk.errors import InvalidInput
from copydesk.models import Base, read_adapter
from copydesk.records import AdapterRef, Sampling
from copydesk.serve import EngineSettings, LocalEngine, start_engine
from copydesk.serve._architecture import read_architecture
from copydesk.serve._handwritten import HandwrittenRunner
from copydesk.serve._merged import _STEPS, Copies
from copydesk.serve._runner import Prepared, Stretch

PROMPTS = [f"Write of {thing}." for thing in ("bread", "rain", "a walk home", "ink")]


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Base:
    return load(tiny_base, tmp_path)


@pytest.fixture
def engine(base: Base) -> Iterator[LocalEngine]:
    engine = start_engine(base, EngineSettings(max_running=4, max_length=600, merged_copies=1))
    yield engine
    engine.stop()


def runner_of(base: Base) -> HandwrittenRunner:
    shape = read_architecture(base, 64)
    assert shape is not None
    shape.quantise(None)
    return HandwrittenRunner(base, shape, slots=4, length=63)


def logits(runner: HandwrittenRunner, adapters: list[Prepared | None]) -> torch.Tensor:
    """Of a prompt and a next token for each adapter, all in the same two runs."""
    opened = [runner.open(slot, adapter) for slot, adapter in enumerate(adapters)]
    virtual = [
        adapter.virtual_tokens if adapter is not None and adapter.prompted else 0
        for adapter in adapters
    ]
    ids = [
        [*(-1 - at for at in range(count)), 65 + slot, 66, 67, 70 + slot]
        for slot, count in enumerate(virtual)
    ]
    first = runner.run(
        [
            Stretch(slot=slot, ids=own, start=opened[slot], wanted=slot != 1)
            for slot, own in enumerate(ids)
        ]
    )
    then = runner.run(
        [
            Stretch(slot=slot, ids=[80], start=opened[slot] + len(own), wanted=True)
            for slot, own in enumerate(ids)
        ]
    )
    for slot in range(len(adapters)):
        runner.close(slot, clean=True)
    return torch.cat([first, then])


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_computes_what_its_adapter_does(base: Base, tmp_path: Path, method: str) -> None:
    ref = write_adapter(base.info, tmp_path / method, method, **METHODS[method])
    other = write_adapter(base.info, tmp_path / "other", lora_r=3, seed=5)
    runner = runner_of(base)
    own, neighbour = (
        runner.prepare(read_adapter(base, each.path, bound_to=base.info.digest))
        for each in (ref, other)
    )
    merged = runner.merge(own)
    if method in {"prefix", "prompt", "bottleneck"}:
        assert merged is None, "there is nothing to merge"
        return
    assert merged is not None and merged.merged and merged.bytes > own.bytes
    expected = logits(runner, [own, None, neighbour, own])
    found = logits(runner, [merged, None, neighbour, merged])
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    # first run: rows of slots 0, 2, 3; second: of all four
    others = [1, 4, 5]
    without = logits(runner, [merged, None, neighbour, None])
    assert torch.allclose(found[others], without[others], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[0], logits(runner, [None] * 4)[0], atol=1e-2), "it does a lot"


def alone_until(engine: LocalEngine, ref: AdapterRef, done: Callable[[], bool]) -> None:
    """Ask for one client alone until something has come to be."""
    sampling = Sampling(max_new_tokens=64, temperature=0, repetition_penalty=1.0)
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        engine.submit(ask("Go on", ref, sampling=sampling)).result(60)


def test_a_client_alone_gets_a_copy_and_the_same_texts(
    engine: LocalEngine, base: Base, tmp_path: Path
) -> None:
    def copies() -> float:
        return engine.state().figures["merged_copies"]

    own = write_adapter(base.info, tmp_path / "own", lora_r=4)
    stranger = write_adapter(base.info, tmp_path / "stranger", lora_r=2, seed=3)
    wanted = {ref.name: reference(base.info, PROMPTS, ref) for ref in (own, stranger)}
    long = "A long beginning that is kept. " * 4

    def found() -> float:
        """Tokens of the long prompt that were kept from before."""
        before = engine.state().figures["prefix_tokens_found_total"]
        engine.submit(ask(long, own)).result(60)
        return engine.state().figures["prefix_tokens_found_total"] - before

    found()
    kept = found()
    assert copies() == 0
    alone_until(engine, own, lambda: copies() == 1)
    assert engine.state().figures["merged_bytes"] > 0
    assert engine.state().figures["steps_total"] > 0.9 * _STEPS
    assert found() < kept, "keys and values of the adapter beside the base are not the copy's"
    assert found() == kept
    for _ in range(3):
        jobs = [
            (ref, at, engine.submit(ask(words, ref)))
            for at, words in enumerate(PROMPTS)
            for ref in (own, stranger)
        ]
        for ref, at, job in jobs:
            assert job.result(60).completion.text == wanted[ref.name][at]
    alone_until(engine, stranger, lambda: engine.state().figures["merged_copies"] == 0)
    alone_until(engine, stranger, lambda: copies() == 1)
    texts = [engine.submit(ask(words, stranger)).result(60).completion.text for words in PROMPTS]
    assert texts == wanted[stranger.name]


def test_without_being_asked_there_is_none(base: Base, tmp_path: Path) -> None:
    ref = write_adapter(base.info, tmp_path / "own", lora_r=4)
    engine = start_engine(base, EngineSettings(max_running=2, max_length=600))
    try:
        alone_until(engine, ref, lambda: engine.state().figures.get("steps_total", 0) > 2 * _STEPS)
        assert engine.state().figures["merged_copies"] == 0
    finally:
        engine.stop()
    for wrong in ({"merged_copies": -1}, {"merged_copies": 1, "quantise": "int8"}):
        with pytest.raises(InvalidInput, match="merge"):
            EngineSettings(**wrong)  # pyright: ignore[reportArgumentType]


def test_who_shares_the_engine_gets_no_copy() -> None:
    """And a copy that cannot be made is not tried again at each request."""
    asked: list[Prepared] = []

    def merge(adapter: Prepared) -> Prepared | None:
        asked.append(adapter)
        raise MemoryError

    adapter = Prepared(virtual_tokens=0, prompted=False, bytes=1, own=None)
    copies = Copies(merge, limit=1)
    for step in range(4 * _STEPS):
        copies.note({"own", "other"} if step % 5 == 0 else {"own"})
        assert copies.find("own", adapter) is adapter
    assert not asked, "a stranger in every fifth step is too much"
    for _ in range(2 * _STEPS):
        copies.note({"own"})
        assert copies.find("own", adapter) is adapter
    end = time.monotonic() + 60
    while not asked:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert copies.find("own", adapter) is adapter
    copies.close()
    assert asked == [adapter]
    assert copies.count == copies.bytes == 0
