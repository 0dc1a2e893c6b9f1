"""Writing against transformers' own generate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from copydesk.errors import InvalidInput
from copydesk.models import (
    Base,
    BaseStore,
    Method,
    MethodSettings,
    Tuned,
    encode_chat,
    find_method,
    load_adapter,
    load_base,
    untuned,
)
from copydesk.records import Message, Sampling
from copydesk.serve import Writer

CPU = torch.device("cpu")
CHAT = (Message(role="user", content="Say something"),)


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Base:
    info = BaseStore(tmp_path).find(str(tiny_base))
    return load_base(info, device=CPU, dtype=torch.float32)


def test_greedy_text_equals_transformers_generate(base: Base) -> None:
    greedy = Sampling(max_new_tokens=30, temperature=0, repetition_penalty=1.0)
    found = Writer(untuned(base), name="tiny").complete(CHAT, greedy)
    prompt = torch.tensor([encode_chat(base.tokenizer, CHAT)])
    expected = base.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=30,
        do_sample=False,
        pad_token_id=256,
    )[0, prompt.shape[1] :]
    assert found.text == base.tokenizer.decode(expected, skip_special_tokens=True)
    assert found.tokens == len(expected)
    assert (found.finish_reason == "stop") == (int(expected[-1]) == 256)


def test_the_stream_adds_up_to_the_text(base: Base) -> None:
    pieces: list[str] = []
    sampling = Sampling(max_new_tokens=60, temperature=1.5, top_p=1.0, seed=3)
    found = Writer(untuned(base), name="tiny").complete(CHAT, sampling, pieces.append)
    assert len(pieces) > 5
    assert "".join(pieces) == found.text


def test_the_seed_draws_the_text_and_nothing_else_does(base: Base) -> None:
    writer = Writer(untuned(base), name="tiny")
    sampling = Sampling(max_new_tokens=40, temperature=1.2, top_p=1.0, seed=1)
    first = writer.complete(CHAT, sampling)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert writer.complete(CHAT, sampling) == first
    assert torch.equal(torch.get_rng_state(), state)
    other = Sampling(max_new_tokens=40, temperature=1.2, top_p=1.0, seed=2)
    assert writer.complete(CHAT, other).text != first.text


def test_the_window_bounds_the_answer(base: Base) -> None:
    long = (Message(role="user", content="x" * 2030),)
    found = Writer(untuned(base), name="tiny").complete(
        long, Sampling(max_new_tokens=500, temperature=0)
    )
    assert found.tokens <= 2048 - 2030
    too_long = (Message(role="user", content="x" * 2100),)
    with pytest.raises(InvalidInput, match="at most 2048"):
        Writer(untuned(base), name="tiny").complete(too_long, Sampling())


SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "lora": {"lora_r": 4},
    "dora": {"lora_r": 4},
    "qlora": {"lora_r": 4},
    "prefix": {"num_virtual_tokens": 6},
    "prompt": {"num_virtual_tokens": 6},
    "bottleneck": {"reduction_factor": 8},
}


@pytest.mark.parametrize("method", list(SETTINGS))
def test_greedy_text_of_every_method_is_the_likeliest_next_token(
    tiny_base: Path, tmp_path: Path, method: str
) -> None:
    """Each token against a forward over the whole text so far, without a cache."""
    adapted, chosen, own = _adapted(tiny_base, tmp_path, method)
    found = Writer(adapted, name="tiny").complete(
        CHAT, Sampling(max_new_tokens=12, temperature=0, repetition_penalty=1.0)
    )
    model: Any = adapted.peft if adapted.virtual else adapted.model
    ids = encode_chat(adapted.base.tokenizer, CHAT)
    new: list[int] = []
    for _ in range(found.tokens):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*ids, *new]]), use_cache=False).logits[0, -1]
        new.append(int(logits.argmax()))
    assert found.tokens > 2
    assert found.text == adapted.base.tokenizer.decode(new, skip_special_tokens=True)
    bare = load_base(
        adapted.base.info,
        device=CPU,
        dtype=torch.float32,
        quantisation=chosen.quantisation(own),
    )
    plain = Writer(untuned(bare), name="tiny").complete(
        CHAT, Sampling(max_new_tokens=12, temperature=0, repetition_penalty=1.0)
    )
    assert plain.text != found.text


def test_virtual_tokens_take_room_in_the_window(tiny_base: Path, tmp_path: Path) -> None:
    adapted, _, _ = _adapted(tiny_base, tmp_path, "prompt")
    long = (Message(role="user", content="x" * 2030),)
    found = Writer(adapted, name="tiny").complete(long, Sampling(max_new_tokens=500, temperature=0))
    prompt = len(encode_chat(adapted.base.tokenizer, long))
    assert prompt + found.tokens + 6 <= 2048
    longer = (Message(role="user", content="x" * (2030 + 2048 - prompt - 3)),)
    with pytest.raises(InvalidInput, match="at most 2042"):
        Writer(adapted, name="tiny").complete(longer, Sampling())


def _adapted(folder: Path, tmp_path: Path, method: str) -> tuple[Tuned, Method, MethodSettings]:
    """A version as it is loaded: an adapter with random numbers, saved, on a fresh base."""
    chosen = find_method(method)
    own = chosen.settings(**SETTINGS[method])
    info = BaseStore(tmp_path).find(str(folder))

    def base() -> Base:
        quantisation = chosen.quantisation(own)
        return load_base(info, device=CPU, dtype=torch.float32, quantisation=quantisation)

    tuned = chosen.prepare(base(), own, 0)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in tuned.parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    (tmp_path / "adapter").mkdir()
    chosen.save(tuned, tmp_path / "adapter")
    return load_adapter(base(), tmp_path / "adapter", bound_to=info.digest), chosen, own
