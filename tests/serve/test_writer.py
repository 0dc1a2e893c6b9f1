"""Writing against transformers' own generate."""

from pathlib import Path

import pytest
import torch

from copydesk.errors import InvalidInput
from copydesk.models import Base, BaseStore, encode_chat, load_base, untuned
from copydesk.records import Message, Sampling
from copydesk.serve import Writer

CHAT = (Message(role="user", content="Say something"),)


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Base:
    info = BaseStore(tmp_path).find(str(tiny_base))
    return load_base(info, device=torch.device("cpu"), dtype=torch.float32)


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
