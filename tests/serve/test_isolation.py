"""What one request does changes nothing for another."""

import json
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import CPU, GREEDY, ask, load, reference, write_adapter
from safetensors.torch import load_file, save_file

from copydesk.errors import Cancelled, Damaged, InvalidInput, WrongBase
from copydesk.models import Base, BaseStore, load_base
from copydesk.records import AdapterRef, Generate, Sampling
from copydesk.serve import EngineSettings, LocalEngine, start_engine

PROMPTS = [f"Write of {thing}." for thing in ("bread", "rain", "a very long walk home", "ink", "x")]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Base:
    return load(tiny_base, tmp_path)


@pytest.fixture
def engine(base: Base) -> Iterator[LocalEngine]:
    engine = start_engine(base, EngineSettings(max_running=8, max_length=400, prefill_tokens=32))
    yield engine
    engine.stop()


def spoiled(ref: AdapterRef, folder: Path, how: Any, name: str) -> AdapterRef:
    """A copy of an adapter with its first B changed."""
    shutil.copytree(ref.path, folder)
    tensors = load_file(folder / WEIGHTS)
    key = next(key for key in tensors if "lora_B" in key)
    tensors[key] = how(tensors[key])
    save_file(tensors, folder / WEIGHTS)
    return AdapterRef(name=name, path=folder, digest=name, base_digest=ref.base_digest)


def test_hostile_neighbours_change_no_token(
    engine: LocalEngine, base: Base, tmp_path: Path
) -> None:
    good = [
        write_adapter(base.info, tmp_path / f"good{seed}", lora_r=rank, seed=seed)
        for seed, rank in enumerate((2, 5, 8))
    ]
    wanted = [reference(base.info, PROMPTS, ref) for ref in [*good, None]]
    broken = spoiled(good[0], tmp_path / "nan", lambda b: b * torch.nan, "nan")
    huge = spoiled(good[1], tmp_path / "huge", lambda b: b * 1e30, "huge")
    large = spoiled(good[2], tmp_path / "large", lambda b: b.sign() * 9e5, "large")
    for _ in range(3):
        hostile = [
            engine.submit(ask("spoil " * 10, ref, share="hostile")) for ref in (broken, huge, large)
        ]
        cancelled = [engine.submit(ask(f"drop {n}", good[1])) for n in range(3)]
        longest = engine.submit(ask("y" * 340, large))
        jobs = [[engine.submit(ask(words, ref)) for words in PROMPTS] for ref in [*good, None]]
        for job in cancelled:
            job.cancel()
        assert [[job.result(60).completion.text for job in row] for row in jobs] == wanted
        for job in hostile[:2]:
            with pytest.raises(Damaged):
                job.result(60)
        for job in (hostile[2], longest):  # large numbers may run or be lost, for it alone
            try:
                job.result(60)
            except Damaged as error:
                assert "finite" in str(error)
    assert engine.state().status == "ready"


def test_a_row_that_breaks_ends_alone_and_leaves_its_slot_clean(
    tmp_path: Path, tiny_base: Path
) -> None:
    """Overflow while it runs: float16 has little room, and the adapter's numbers are legal."""
    info = BaseStore(tmp_path).find(str(tiny_base))
    base = load_base(info, device=CPU, dtype=torch.float16)
    good = write_adapter(info, tmp_path / "good", lora_r=4)
    large = spoiled(good, tmp_path / "large", lambda b: b.sign() * 6e4, "large")
    engine = start_engine(base, EngineSettings(max_running=2, max_adapters=2, max_length=200))
    try:
        before = engine.submit(ask("calm", good)).result(60).completion.text
        for _ in range(3):
            bad = engine.submit(ask("storm", large))
            calm = engine.submit(ask("calm", good))
            assert calm.result(60).completion.text == before
            with pytest.raises(Damaged, match="finite"):
                bad.result(60)
        after = [engine.submit(ask("calm", good)) for _ in range(4)]
        assert {job.result(60).completion.text for job in after} == {before}
    finally:
        engine.stop()


def test_a_foreign_adapter_is_refused_at_once(
    engine: LocalEngine, base: Base, tmp_path: Path
) -> None:
    ref = write_adapter(base.info, tmp_path / "one", lora_r=4)
    foreign = AdapterRef(name="c@1", path=ref.path, digest="d", base_digest="another")
    with pytest.raises(WrongBase, match="c@1 is bound"):
        engine.submit(ask("x", foreign))
    missing = AdapterRef(
        name="c@1", path=tmp_path / "none", digest="e", base_digest=base.info.digest
    )
    with pytest.raises(Damaged):
        engine.submit(ask("x", missing)).result(60)


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "VERA"},
        {"r": 5},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"use_dora": True},
        {"lora_alpha": 1e30},
    ],
)
def test_a_folder_that_states_something_else_is_refused(
    engine: LocalEngine, base: Base, tmp_path: Path, change: dict[str, Any]
) -> None:
    ref = write_adapter(base.info, tmp_path / "one", lora_r=4)
    file = ref.path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(Damaged):
        engine.submit(ask("x", ref)).result(60)


def test_a_mended_folder_is_read_again(engine: LocalEngine, base: Base, tmp_path: Path) -> None:
    ref = write_adapter(base.info, tmp_path / "one", lora_r=4)
    wanted = reference(base.info, PROMPTS[:1], ref)
    whole = (ref.path / WEIGHTS).read_bytes()
    (ref.path / WEIGHTS).write_bytes(whole[:1000])
    with pytest.raises(Damaged):
        engine.submit(ask(PROMPTS[0], ref)).result(60)
    (ref.path / WEIGHTS).write_bytes(whole)
    assert engine.submit(ask(PROMPTS[0], ref)).result(60).completion.text == wanted[0]


def test_rank_patterns_and_rslora_are_scaled_as_peft_scales_them(
    engine: LocalEngine, base: Base, tmp_path: Path
) -> None:
    plain = write_adapter(base.info, tmp_path / "plain", lora_r=4)
    texts: list[list[str]] = []
    for name, change in {
        "rs": {"use_rslora": True},
        "pattern": {"alpha_pattern": {"q_proj": 3, r"layers\.1\.mlp\.up_proj": 90}},
    }.items():
        folder = tmp_path / name
        shutil.copytree(plain.path, folder)
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        ref = AdapterRef(name=name, path=folder, digest=name, base_digest=plain.base_digest)
        texts.append(reference(base.info, PROMPTS, ref))
        jobs = [engine.submit(ask(words, ref)) for words in PROMPTS]
        assert [job.result(60).completion.text for job in jobs] == texts[-1]
    assert texts[0] != texts[1] != reference(base.info, PROMPTS, plain)


def test_more_adapters_than_fit_are_read_in_turn(base: Base, tmp_path: Path) -> None:
    refs = [write_adapter(base.info, tmp_path / f"c{n}", lora_r=2, seed=n) for n in range(6)]
    wanted = [reference(base.info, PROMPTS[:2], ref, count=6) for ref in refs]
    engine = start_engine(base, EngineSettings(max_running=2, max_adapters=2, max_length=200))
    short = Sampling(max_new_tokens=6, temperature=0, repetition_penalty=1.0)
    try:
        for _ in range(2):
            jobs = [
                [engine.submit(ask(words, ref, sampling=short)) for words in PROMPTS[:2]]
                for ref in refs
            ]
            assert [[job.result(60).completion.text for job in row] for row in jobs] == wanted
            figures = engine.state().figures
            assert figures["adapters_resident"] <= 2
        assert figures["adapter_evictions_total"] >= 4
        assert figures["adapter_misses_total"] >= 6
    finally:
        engine.stop()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_hundred_clients_come_and_go(dtype: torch.dtype, tiny_base: Path, tmp_path: Path) -> None:
    """Versions change under one name, requests are dropped, adapters are read and let go."""
    info = BaseStore(tmp_path).find(str(tiny_base))
    first = write_adapter(info, tmp_path / "first", lora_r=2)
    refs: list[AdapterRef] = []
    for number in range(120):  # twenty of the hundred have a second version
        folder = tmp_path / f"version{number}"
        shutil.copytree(first.path, folder)
        source = torch.Generator().manual_seed(number)
        tensors = load_file(folder / WEIGHTS)
        drawn = {key: torch.randn(t.shape, generator=source) * 0.3 for key, t in tensors.items()}
        save_file(drawn, folder / WEIGHTS)
        name = f"client{number % 100}"
        refs.append(AdapterRef(name=name, path=folder, digest=f"{number}", base_digest=info.digest))
    short = Sampling(max_new_tokens=8, temperature=0, repetition_penalty=1.0)

    def request(ref: AdapterRef) -> Generate:
        return ask("Write of rain.", ref, sampling=short)

    def engine_with(adapters: int, running: int) -> LocalEngine:
        base = load_base(info, device=CPU, dtype=dtype)
        settings = EngineSettings(
            max_running=running, max_adapters=adapters, max_length=128, prefix_cache_bytes=1 << 20
        )
        return start_engine(base, settings)

    alone = engine_with(120, 1)
    try:
        wanted = [alone.submit(request(ref)).result(60).completion.text for ref in refs]
    finally:
        alone.stop()
    assert len(set(wanted)) > 100, "they speak differently"
    engine = engine_with(8, 8)
    chance = random.Random(0)

    def ask_many(order: list[int]) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        for number in order:
            job = engine.submit(request(refs[number]))
            if number % 5 == 0:
                engine.submit(request(refs[(number + 7) % 120])).cancel()
            found.append((number, job.result(60).completion.text))
        return found

    try:
        with ThreadPoolExecutor(12) as pool:
            orders = [chance.sample(range(120), 40) for _ in range(12)]
            answers = [answer for part in pool.map(ask_many, orders) for answer in part]
        assert len(answers) == 480
        assert [n for n, text in answers if text != wanted[n]] == []
        figures = engine.state().figures
        assert figures["adapters_resident"] <= 8
        assert figures["adapter_evictions_total"] > 100
    finally:
        engine.stop()


def test_cancelling_frees_the_place_at_once(engine: LocalEngine) -> None:
    long = Sampling(max_new_tokens=300, temperature=0, repetition_penalty=1.0)
    jobs = [engine.submit(ask(f"go on {n}", sampling=long)) for n in range(16)]
    for job in jobs:
        job.cancel()
    for job in jobs:
        try:
            job.result(60)
        except Cancelled:
            continue
    assert engine.submit(ask("and now", sampling=GREEDY)).result(60).completion.tokens > 0
    assert engine.state().running == 0


def test_what_cannot_be_asked_is_refused(engine: LocalEngine) -> None:
    for request in (
        ask("x" * 500),
        ask("x", stop=("",)),
        ask("x", stop=("a",) * 17),
        ask("x", logprobs=101),
        ask("x", sampling=Sampling(temperature=float("nan"))),
        ask("x", sampling=Sampling(top_p=0)),
        ask("x", sampling=Sampling(repetition_penalty=0)),
        ask("x", sampling=Sampling(max_new_tokens=0)),
        ask("x", json_schema={"type": 7}),
    ):
        with pytest.raises(InvalidInput):
            engine.submit(request)
