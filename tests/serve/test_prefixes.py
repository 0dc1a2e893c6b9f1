"""The cache of prompts' beginnings, and prompts run in parts: texts stay what they were."""

from pathlib import Path

import pytest
from engines import ask, load, reference, write_adapter

from copydesk.models import Base
from copydesk.records import AdapterRef, Message, Sampling
from copydesk.serve import EngineSettings, start_engine
from copydesk.serve._prefixes import BLOCK

EIGHT = Sampling(max_new_tokens=8, temperature=0, repetition_penalty=1.0)
GUIDE = "You write for a bakery. Short sentences, warm words, no exclamation marks, ever. " * 2


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Base:
    return load(tiny_base, tmp_path)


def _prompts() -> list[str]:
    return [GUIDE + ending for ending in ("Bread.", "Rolls and buns.", "Bread.", "x" * 90)]


@pytest.mark.parametrize("tokens", [1, 7, 64, 4096])
@pytest.mark.parametrize("kept", [0, 64 << 20])
def test_texts_do_not_depend_on_parts_and_caches(
    base: Base, tmp_path: Path, tokens: int, kept: int
) -> None:
    refs = [
        None,
        write_adapter(base.info, tmp_path / "lora", lora_r=4),
        write_adapter(base.info, tmp_path / "prefix", "prefix", num_virtual_tokens=5),
        write_adapter(base.info, tmp_path / "prompt", "prompt", num_virtual_tokens=5),
    ]
    wanted = [reference(base.info, _prompts(), ref, count=8) for ref in refs]
    settings = EngineSettings(
        max_running=4, max_length=400, prefill_tokens=tokens, prefix_cache_bytes=kept
    )
    engine = start_engine(base, settings)
    try:
        for _ in range(2):
            jobs = [
                [engine.submit(ask(words, ref, sampling=EIGHT)) for words in _prompts()]
                for ref in refs
            ]
            found = [[job.result(60) for job in row] for row in jobs]
            assert [[each.completion.text for each in row] for row in found] == wanted
        cached = [each.cached_tokens for row in found for each in row]
        if kept:
            assert min(cached) >= 3 * BLOCK
            assert all(each.cached_tokens < each.prompt_tokens for row in found for each in row)
        else:
            assert max(cached) == 0
    finally:
        engine.stop()


def test_a_replaced_adapter_finds_nothing_of_the_old_one(base: Base, tmp_path: Path) -> None:
    """One name, two contents: what is kept goes by the digest."""
    first = write_adapter(base.info, tmp_path / "first", lora_r=4, seed=1)
    second = write_adapter(base.info, tmp_path / "second", lora_r=4, seed=2)
    wanted = [reference(base.info, [GUIDE], ref)[0] for ref in (first, second)]
    assert wanted[0] != wanted[1]
    engine = start_engine(base, EngineSettings(max_running=2, max_length=400))
    try:
        for ref, text in ((first, wanted[0]), (second, wanted[1]), (first, wanted[0])):
            same = AdapterRef(
                name="client@1", path=ref.path, digest=ref.digest, base_digest=ref.base_digest
            )
            found = engine.submit(ask(GUIDE, same)).result(60)
            assert found.completion.text == text
            cached = found.cached_tokens
        assert cached > 0
        other = engine.submit(ask(GUIDE, second)).result(60)
        assert other.completion.text == wanted[1]
    finally:
        engine.stop()


def test_what_is_kept_is_bounded_and_the_oldest_goes(base: Base) -> None:
    block = 2 * 2 * 2 * BLOCK * 16 * 4  # layers, keys and values, heads, tokens, width, bytes
    settings = EngineSettings(max_running=2, max_length=400, prefix_cache_bytes=6 * block)
    engine = start_engine(base, settings)
    try:
        for number in range(10):
            engine.submit(ask(f"{number}" * 100)).result(60)
            assert engine.state().figures["prefix_bytes"] <= 6 * block
        assert engine.state().figures["prefix_bytes"] == 6 * block
        assert engine.submit(ask("9" * 100)).result(60).cached_tokens >= 3 * BLOCK
        assert engine.submit(ask("0" * 100)).result(60).cached_tokens == 0
    finally:
        engine.stop()


def test_text_is_continued_as_it_is(base: Base) -> None:
    engine = start_engine(base, EngineSettings(max_running=2, max_length=400))
    try:
        chat = ask("Hello")
        assert not isinstance(chat.prompt, str)
        text = "<|user|>Hello<|end|><|assistant|>"
        plain = ask("x")
        plain = type(plain)(prompt=text, adapter=None, sampling=plain.sampling)
        assert (
            engine.submit(plain).result(60).completion == engine.submit(chat).result(60).completion
        )
        assert chat.prompt == (Message(role="user", content="Hello"),)
    finally:
        engine.stop()
