"""The engine against transformers' generate with PEFT."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import METHODS, ask, load, reference, write_adapter

from copydesk.models import Base
from copydesk.serve import EngineSettings, LocalEngine, start_engine

PROMPTS = ["Say something", "x", "Write of bread, and of the people who bake it at night.", "Hm?"]


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Base:
    return load(tiny_base, tmp_path)


@pytest.fixture(params=[True, False], ids=["handwritten", "generic"])
def engine(base: Base, request: pytest.FixtureRequest) -> Iterator[LocalEngine]:
    settings = EngineSettings(max_running=8, handwritten=request.param, prefill_tokens=40)
    engine = start_engine(base, settings)
    yield engine
    engine.stop()


def test_greedy_text_equals_generate_alone_and_among_strangers(
    engine: LocalEngine, base: Base, tmp_path: Path
) -> None:
    """Every method's adapter, the plain base, and all of them in one batch."""
    refs = [
        write_adapter(base.info, tmp_path / name, name, seed=seed, **METHODS[name])
        for seed, name in enumerate(METHODS)
    ]
    wanted = [reference(base.info, PROMPTS, ref) for ref in [*refs, None]]
    assert len({tuple(texts) for texts in wanted}) == len(wanted)
    requests = [
        (ask(words, ref), row, at)
        for row, ref in enumerate([*refs, None])
        for at, words in enumerate(PROMPTS)
    ]
    alone = [engine.submit(request).result(60).completion.text for request, _, _ in requests[::3]]
    assert alone == [wanted[row][at] for _, row, at in requests[::3]]
    jobs = [engine.submit(request) for request, _, _ in requests]
    together = [job.result(60).completion.text for job in jobs]
    assert together == [wanted[row][at] for _, row, at in requests]
    assert engine.state().running == 0
