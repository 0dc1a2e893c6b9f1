"""A vLLM of our own, where there is one: `vllm` on the path, or named by COPYDESK_VLLM."""

import os
import shutil
from collections.abc import Iterator

import pytest
import torch

from copydesk.models import BaseInfo, BaseStore, find_method, load_base
from copydesk.records import AdapterRef, Generate, Message, Piece, Sampling
from copydesk.remote import OWN_MODEL, VllmEngine, VllmSettings, reach_vllm, start_vllm
from copydesk.store import building, default_cache

COMMAND = os.environ.get("COPYDESK_VLLM") or shutil.which("vllm")
ASK = (Message(role="user", content="Write one sentence about cheese."),)
GREEDY = Sampling(max_new_tokens=8, temperature=0, repetition_penalty=1.0)
SMALL = ("--dtype", "bfloat16", "--max-model-len", "512", "--enforce-eager")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(COMMAND is None, reason="there is no vllm here"),
]


@pytest.fixture(scope="module")
def info() -> BaseInfo:
    return BaseStore(default_cache()).pull("smollm2-135m")


@pytest.fixture(scope="module")
def engine(info: BaseInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmEngine]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    assert COMMAND is not None
    process = start_vllm(COMMAND, info.path, log=log, max_adapters=2, arguments=SMALL)
    settings = VllmSettings(
        model=OWN_MODEL, base_digest=info.digest, api_key=process.api_key, max_adapters=2
    )
    made = reach_vllm(process.url, settings, process)
    yield made
    made.stop()
    assert process.process.poll() is not None, "it ends with its engine"


@pytest.fixture(scope="module")
def adapters(info: BaseInfo, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    folder, method = tmp_path_factory.mktemp("adapters"), find_method("lora")
    made: list[AdapterRef] = []
    for number in range(3):
        base = load_base(info, device=torch.device("cpu"), dtype=torch.bfloat16)
        tuned = method.prepare(base, method.settings(lora_r=8), 0)
        draw = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in tuned.parameters.values():
                noise = torch.randn(parameter.shape, generator=draw) * 0.01
                parameter.add_(noise.to(parameter.dtype))
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


def first_logprob(engine: VllmEngine, adapter: AdapterRef | None) -> float:
    pieces: list[Piece] = []
    request = Generate(prompt=ASK, adapter=adapter, sampling=GREEDY, logprobs=0)
    engine.submit(request, pieces.append).result(300)
    return pieces[0].logprobs[0].logprob


def test_each_adapter_speaks_for_itself_also_when_it_is_loaded_again(
    engine: VllmEngine, adapters: list[AdapterRef]
) -> None:
    said = [first_logprob(engine, adapter) for adapter in (None, *adapters)]
    assert len(set(said)) == 4
    again = [first_logprob(engine, adapter) for adapter in (None, *adapters)]
    assert again == pytest.approx(said, abs=1e-3)
    figures = engine.state().figures
    assert figures["adapters_resident"] == 2 and figures["adapter_evictions_total"] >= 3


def test_an_answer_longer_than_the_window_is_cut_to_it(engine: VllmEngine) -> None:
    long = Sampling(max_new_tokens=5000, temperature=1.5, repetition_penalty=1.0)
    got = engine.submit(Generate(prompt=ASK, adapter=None, sampling=long, stop=(".",))).result(600)
    assert got.prompt_tokens + got.completion.tokens <= 512
