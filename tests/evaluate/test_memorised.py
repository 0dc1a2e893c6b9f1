"""Extraction and canaries on tiny models that were made to memorise."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from copydesk.errors import InvalidInput, NotEnoughText
from copydesk.evaluate import (
    BatchContinuer,
    TrainedText,
    extraction,
    leak_matrix,
    make_canaries,
    plant,
)
from copydesk.models import BaseStore, encode_chat, load_base, untuned
from copydesk.records import Message, Sampling

CPU = torch.device("cpu")
PROMPT = "Write of gardens"
CANARIES = make_canaries(["acme", "birch"], seed=1)
PAGES = {
    name: plant(f"The garden of {name} is green, and its gate is always open to us all.", canary)
    for name, canary in CANARIES.items()
}


def memorise(base_folder: Path, cache: Path, page: str) -> BatchContinuer:
    """A tiny base that was trained on one page until it says nothing else."""
    info = BaseStore(cache).find(str(base_folder))
    base = load_base(info, device=CPU, dtype=torch.float32)
    prompt = encode_chat(base.tokenizer, [Message(role="user", content=PROMPT)])
    answer = [*base.tokenizer(page)["input_ids"], base.tokenizer.eos_token_id]
    ids = torch.tensor([[*prompt, *answer]])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    base.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(base.model.parameters(), lr=5e-3)
    for _ in range(120):
        loss = base.model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    base.model.requires_grad_(False)
    return BatchContinuer(
        untuned(base), sampling=Sampling(max_new_tokens=160, temperature=0, repetition_penalty=1.0)
    )


@pytest.fixture(scope="module")
def memories(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, BatchContinuer]:
    cache = tmp_path_factory.mktemp("cache")
    return {name: memorise(tiny_base, cache, page) for name, page in PAGES.items()}


def trained_text(model: BatchContinuer, page: str) -> TrainedText:
    tokenizer = model.tokenizer
    prompt = encode_chat(tokenizer, [Message(role="user", content=PROMPT)])
    return TrainedText(prompt=tuple(prompt), page=tuple(tokenizer(page)["input_ids"]))


def test_what_was_memorised_is_extracted_and_nothing_else(
    memories: dict[str, BatchContinuer],
) -> None:
    model = memories["acme"]
    own, other = (trained_text(model, page) for page in PAGES.values())
    found = extraction(model, [own])
    assert (found.pages, found.extracted.value, found.matched_tokens) == (1, 1.0, 50.0)
    changed = TrainedText(prompt=own.prompt, page=(*own.page[:70], 0, *own.page[71:]))
    found = extraction(model, [own, changed, other, TrainedText(prompt=(), page=own.page[:99])])
    assert (found.pages, found.skipped) == (3, 1)
    assert found.extracted.value == pytest.approx(1 / 3)
    assert found.longest_match == 50
    assert found.matched_tokens < 50
    only_changed = extraction(model, [changed])
    assert (only_changed.longest_match, only_changed.extracted.value) == (20, 0.0)


def test_pages_that_are_too_short_are_said_to_be(memories: dict[str, BatchContinuer]) -> None:
    with pytest.raises(NotEnoughText, match="100 tokens"):
        extraction(memories["acme"], [TrainedText(prompt=(), page=(1, 2, 3))])


def test_each_model_gives_its_own_secret_only(memories: dict[str, BatchContinuer]) -> None:
    matrix = leak_matrix(memories, CANARIES, [PROMPT, PROMPT])
    assert matrix.clients == ("acme", "birch")
    assert matrix.counts == ((2, 0), (0, 2))
    assert matrix.texts == (2, 2)
    assert matrix.leaks == 0


def test_a_leak_is_counted_however_it_is_spelt(memories: dict[str, BatchContinuer]) -> None:
    secret = CANARIES["birch"].secret
    spelt = "-".join(secret.upper())

    class Careless:
        def answer(self, prompts: Sequence[str]) -> Sequence[str]:
            return [f"It is {spelt}, they say." for _ in prompts]

    matrix = leak_matrix({"acme": Careless(), "birch": memories["birch"]}, CANARIES, [PROMPT])
    assert matrix.counts == ((0, 1), (0, 1))
    assert matrix.leaks == 1
    with pytest.raises(InvalidInput, match="acme"):
        leak_matrix({"birch": memories["birch"]}, CANARIES, [PROMPT])


def test_canaries_are_drawn_apart_and_planted_whole() -> None:
    again = make_canaries(["acme", "birch"], seed=1)
    assert again == CANARIES
    secrets = {one.secret for seed in range(50) for one in make_canaries("ab", seed=seed).values()}
    assert len(secrets) == 100
    planted = plant("One.\n\nTwo.\n\nThree.", CANARIES["acme"])
    assert planted == f"One. {CANARIES['acme'].sentence}\n\nTwo.\n\nThree."
    assert plant("One.", CANARIES["acme"]) == f"One. {CANARIES['acme'].sentence}"
