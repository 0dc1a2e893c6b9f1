"""Batched continuations against one at a time."""

from pathlib import Path

import pytest
import torch

from copydesk.evaluate import BatchContinuer
from copydesk.models import BaseStore, Tuned, encode_chat, load_base, untuned
from copydesk.records import Message, Sampling
from copydesk.serve import Writer

CPU = torch.device("cpu")
PROMPTS = ["Say one thing", "Say", "Say something rather longer than the others do", "Go"]


@pytest.fixture
def tuned(tiny_base: Path, tmp_path: Path) -> Tuned:
    info = BaseStore(tmp_path).find(str(tiny_base))
    return untuned(load_base(info, device=CPU, dtype=torch.float32))


def test_a_greedy_batch_says_what_each_says_alone(tuned: Tuned) -> None:
    greedy = Sampling(max_new_tokens=20, temperature=0, repetition_penalty=1.0)
    writer = Writer(tuned, name="tiny")
    alone = [
        writer.complete((Message(role="user", content=prompt),), greedy).text for prompt in PROMPTS
    ]
    for rows in (1, 3):
        assert list(BatchContinuer(tuned, rows=rows, sampling=greedy).answer(PROMPTS)) == alone


def test_drawn_texts_follow_from_the_seed(tuned: Tuned) -> None:
    first, again, other = (
        BatchContinuer(
            tuned, sampling=Sampling(max_new_tokens=20, temperature=1.5, top_p=1.0, seed=seed)
        ).answer(PROMPTS)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(set(first)) == len(PROMPTS)


def test_ids_end_where_the_model_ends(tuned: Tuned) -> None:
    end = int(tuned.base.tokenizer.eos_token_id)
    prefix = encode_chat(tuned.base.tokenizer, [Message(role="user", content="Say")])
    found = BatchContinuer(tuned, sampling=Sampling(temperature=3.0, top_p=1.0)).continue_ids(
        [prefix] * 12, 60
    )
    assert any(len(ids) < 60 for ids in found), "one of twelve ends early at this temperature"
    assert not any(end in ids for ids in found)
