"""A vLLM behind the engine's interface, against a server that behaves as vLLM does."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from vllm_like import VllmLike, vllm_like

from copydesk.errors import (
    Busy,
    Cancelled,
    Damaged,
    EngineDown,
    InvalidInput,
    Unreachable,
    WrongBase,
)
from copydesk.models import BaseInfo, BaseStore, find_method, load_base
from copydesk.records import AdapterRef, Generate, Message, Piece, Sampling
from copydesk.remote import VllmEngine, VllmSettings, reach_vllm, start_vllm
from copydesk.store import building

GREEDY = Sampling(max_new_tokens=16, temperature=0, repetition_penalty=1.0)
ASK = (Message(role="user", content="Say something"),)


@pytest.fixture(scope="module")
def info(tiny_base: Path) -> BaseInfo:
    return BaseStore(tiny_base.parent / "cache").find(str(tiny_base))


@pytest.fixture(scope="module")
def adapters(
    tiny_base: Path, info: BaseInfo, tmp_path_factory: pytest.TempPathFactory
) -> list[AdapterRef]:
    """Four adapters with numbers of their own."""
    folder = tmp_path_factory.mktemp("adapters")
    method = find_method("lora")
    made: list[AdapterRef] = []
    for number in range(4):
        base = load_base(info, device=torch.device("cpu"), dtype=torch.float32)
        tuned = method.prepare(base, method.settings(lora_r=4), 0)
        draw = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in tuned.parameters.values():
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.3)
        path = folder / str(number)
        with building(path, kind="versions", inputs={"base": info.digest}) as artifact:
            method.save(tuned, artifact.path)
        made.append(
            AdapterRef(
                name=f"client{number}@1",
                path=path,
                digest=artifact.digest,
                base_digest=info.digest,
            )
        )
    return made


@pytest.fixture
def like(tiny_base: Path) -> Iterator[VllmLike]:
    with vllm_like(tiny_base) as running:
        yield running


def reach(like: VllmLike, info: BaseInfo, **more: Any) -> VllmEngine:
    settings = {"health_seconds": 0.05, "max_adapters": 2} | more
    return reach_vllm(like.url, VllmSettings(model="base", base_digest=info.digest, **settings))


@pytest.fixture
def engine(like: VllmLike, info: BaseInfo) -> Iterator[VllmEngine]:
    made = reach(like, info)
    yield made
    made.stop()


def ask(adapter: AdapterRef | None = None, **more: Any) -> Generate:
    return Generate(**({"prompt": ASK, "adapter": adapter, "sampling": GREEDY} | more))


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"prompt": "Once upon"},
        {"stop": ("e",)},
        {"logprobs": 3},
        {"prompt": "Once", "logprobs": 2},
        {"sampling": Sampling(max_new_tokens=12, temperature=1.0, top_p=0.8, seed=-5)},
        {"json_schema": {"type": "boolean"}},
        {"json_schema": {}, "sampling": replace(GREEDY, max_new_tokens=4)},
    ],
    ids=str,
)
def test_what_comes_through_is_what_vllm_writes(
    like: VllmLike, engine: VllmEngine, adapters: list[AdapterRef], more: dict[str, Any]
) -> None:
    request = ask(adapters[0], **more)
    pieces: list[Piece] = []
    expected: list[Piece] = []
    got = engine.submit(request, pieces.append).result(30)
    own = like.engine.submit(request, expected.append).result(30)
    assert got.completion == own.completion
    assert got.prompt_tokens == own.prompt_tokens
    assert "".join(piece.text for piece in pieces) == got.completion.text
    likely = [one for piece in pieces for one in piece.logprobs]
    assert [one.logprob for one in likely] == pytest.approx(
        [one.logprob for piece in expected for one in piece.logprobs]
    )
    assert bool(likely) == ("logprobs" in more)


def test_adapters_are_loaded_as_they_are_asked_for_and_the_least_used_goes(
    like: VllmLike, engine: VllmEngine, adapters: list[AdapterRef]
) -> None:
    texts = [engine.submit(ask(one)).result(30).completion.text for one in adapters[:3]]
    assert len(set(texts)) == 3
    names = list(like.loaded)
    assert names == [f"{one.name}-{one.digest[:24]}" for one in adapters[1:3]]
    assert like.paths("/v1/unload_lora_adapter")[0]["lora_name"].startswith("client0@1-")
    for one in adapters[1:3]:  # these are there
        engine.submit(ask(one)).result(30)
    assert len(like.paths("/v1/load_lora_adapter")) == 3
    figures = engine.state().figures
    assert (figures["adapter_misses_total"], figures["adapter_hits_total"]) == (3, 2)
    again = [engine.submit(ask(one)).result(30).completion.text for one in adapters[:3]]
    assert again == texts


def test_many_at_once_load_each_adapter_once_and_are_not_crossed(
    like: VllmLike, info: BaseInfo, adapters: list[AdapterRef]
) -> None:
    engine = reach(like, info, max_adapters=4, max_running=3)
    jobs = [(number % 4, engine.submit(ask(adapters[number % 4], share=str(number % 4))))
            for number in range(24)]  # fmt: skip
    texts: dict[int, set[str]] = {}
    for number, job in jobs:
        texts.setdefault(number, set()).add(job.result(60).completion.text)
    assert [len(found) for found in texts.values()] == [1] * 4
    assert len(set().union(*texts.values())) == 4
    assert len(like.paths("/v1/load_lora_adapter")) == 4
    engine.stop()


def test_a_stale_adapter_of_the_same_name_cannot_answer(
    like: VllmLike, engine: VllmEngine, adapters: list[AdapterRef]
) -> None:
    mine = engine.submit(ask(adapters[0])).result(30).completion.text
    renamed = replace(adapters[1], name=adapters[0].name)  # another version took the name
    assert engine.submit(ask(renamed)).result(30).completion.text != mine


def test_one_that_is_loaded_already_from_an_earlier_run_is_used(
    like: VllmLike, info: BaseInfo, adapters: list[AdapterRef]
) -> None:
    for _ in range(2):
        engine = reach(like, info)
        assert engine.submit(ask(adapters[0])).result(30).completion.tokens
        engine.stop()
    assert len(like.loaded) == 1


def test_a_vllm_that_was_started_anew_gets_its_adapters_again(
    like: VllmLike, engine: VllmEngine, adapters: list[AdapterRef]
) -> None:
    before = engine.submit(ask(adapters[0])).result(30).completion
    like.loaded.clear()
    assert engine.submit(ask(adapters[0])).result(30).completion == before


def test_an_answer_longer_than_the_window_is_cut_to_it(like: VllmLike, engine: VllmEngine) -> None:
    like.window = 60
    long = replace(GREEDY, max_new_tokens=500, temperature=1.5)
    got = engine.submit(ask(sampling=long)).result(30)
    assert 0 < got.completion.tokens <= 60 - got.prompt_tokens
    like.window = got.prompt_tokens
    with pytest.raises(InvalidInput, match="no room"):
        engine.submit(ask(sampling=long)).result(30)


def test_cancelling_closes_the_stream_and_so_ends_the_work(
    like: VllmLike, engine: VllmEngine
) -> None:
    seen: list[Piece] = []
    endless = replace(GREEDY, max_new_tokens=1900, temperature=2.0)
    job = engine.submit(ask(sampling=endless), seen.append)
    until(lambda: seen)
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(10)
    until(lambda: like.cancelled == 1)
    until(lambda: engine.state().running == 0)
    late = engine.submit(ask(sampling=endless, deadline_seconds=0.05))
    with pytest.raises(Cancelled, match="time"):
        late.result(10)
    job.cancel()
    for _ in range(20):  # before it has begun, while it begins
        early = engine.submit(ask(sampling=endless))
        early.cancel()
        with pytest.raises(Cancelled):
            early.result(10)


def test_the_queue_is_bounded(like: VllmLike, info: BaseInfo) -> None:
    engine = reach(like, info, max_running=1, max_waiting=1)
    endless = replace(GREEDY, max_new_tokens=1900, temperature=2.0)
    jobs = [engine.submit(ask(sampling=endless)) for _ in range(2)]
    with pytest.raises(Busy) as busy:
        engine.submit(ask())
    assert busy.value.retry_seconds > 0
    for job in jobs:
        job.cancel()
    until(lambda: engine.state().waiting == engine.state().running == 0)
    assert engine.submit(ask()).result(30).completion.tokens
    engine.stop()


def test_what_is_damaged_or_for_another_base_is_not_named_to_vllm(
    like: VllmLike, engine: VllmEngine, adapters: list[AdapterRef], info: BaseInfo, tmp_path: Path
) -> None:
    with pytest.raises(WrongBase):
        engine.submit(ask(replace(adapters[0], base_digest="other"))).result(30)
    with pytest.raises(Damaged, match="registered"):
        engine.submit(ask(replace(adapters[0], digest="0" * 64))).result(30)
    shutil.copytree(adapters[0].path, tmp_path / "changed")
    (tmp_path / "changed" / "adapter_config.json").write_text("{}")
    with pytest.raises(Damaged):
        engine.submit(ask(replace(adapters[0], path=tmp_path / "changed"))).result(30)
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        for value in (float("nan"), float("inf")):
            path = tmp_path / f"{kind}-{value}"
            with building(path, kind="versions", inputs={"base": info.digest}) as artifact:
                tensors = load_file(adapters[0].path / "adapter_model.safetensors")
                tensors = {name: one.to(kind) for name, one in tensors.items()}
                tensors[min(tensors)].view(-1)[3] = value
                save_file(tensors, artifact.path / "adapter_model.safetensors")
            with pytest.raises(Damaged, match="not finite"):
                bad = replace(adapters[0], path=path, digest=artifact.digest)
                engine.submit(ask(bad)).result(30)
    assert like.paths("/v1/load_lora_adapter") == []
    assert engine.submit(ask(adapters[0])).result(30).completion.tokens


def test_an_answer_that_breaks_off_is_no_answer(like: VllmLike, engine: VllmEngine) -> None:
    like.broken_after = 2
    with pytest.raises(EngineDown):
        engine.submit(ask()).result(30)


def test_a_sick_vllm_is_down(like: VllmLike, engine: VllmEngine) -> None:
    like.sick = True
    until(lambda: engine.state().status == "down")
    with pytest.raises(EngineDown):
        engine.submit(ask())


def test_stopping_lets_what_runs_finish(like: VllmLike, info: BaseInfo) -> None:
    engine = reach(like, info)
    job = engine.submit(ask(sampling=replace(GREEDY, max_new_tokens=60)))
    engine.stop(30)
    assert job.result(0).completion.tokens
    with pytest.raises(EngineDown):
        engine.submit(ask())
    other = reach(like, info)
    cut = other.submit(ask(sampling=replace(GREEDY, max_new_tokens=1900, temperature=2.0)))
    other.stop(0)
    with pytest.raises((Cancelled, EngineDown)):
        cut.result(5)


def test_its_key_is_sent_and_its_name_is_checked(
    like: VllmLike, info: BaseInfo, adapters: list[AdapterRef]
) -> None:
    like.key = "secret"
    engine = reach(like, info, api_key="secret")
    assert engine.submit(ask(adapters[0])).result(30).completion.tokens
    engine.stop()
    wrong = reach(like, info)
    with pytest.raises(EngineDown, match="401"):
        wrong.submit(ask(adapters[0])).result(30)
    wrong.stop()
    settings = VllmSettings(model="llama", base_digest=info.digest)
    with pytest.raises(InvalidInput, match="base"):
        reach_vllm(like.url, settings)
    for url in ("http://127.0.0.1:9", "not a url", "http://"):
        with pytest.raises(Unreachable):
            reach_vllm(url, settings)


def test_a_vllm_of_ours_that_ends_tells_its_last_words(tmp_path: Path) -> None:
    command = tmp_path / "vllm"
    command.write_text('#!/bin/sh\necho "$@"\necho no such device >&2\nexit 3\n')
    command.chmod(0o755)
    log = tmp_path / "logs" / "vllm.log"
    with pytest.raises(Unreachable, match=r"ended with 3: (?s:.*)no such device"):
        start_vllm(str(command), tmp_path, log=log, max_adapters=8)
    said = log.read_text()
    assert f"serve {tmp_path} --served-model-name base --host 127.0.0.1" in said
    assert "--enable-lora" in said and "--max-cpu-loras 8" in said
