"""Scores of a real tiny model beside transformers' own loss; and the general texts."""

import hashlib
import json
from collections.abc import Generator
from importlib import resources
from pathlib import Path

import pytest
import torch
from conftest import FAMILIES, write_tiny_base

from copydesk.evaluate import general_chats, general_digest, mean_loss, score
from copydesk.models import (
    ATTENTION,
    BaseStore,
    Encoded,
    LoraSettings,
    Tuned,
    encode_example,
    find_method,
    load_base,
)
from copydesk.records import Message

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tuned(tiny_base: Path) -> Tuned:
    info = BaseStore(tiny_base / "cache").find(str(tiny_base))
    base = load_base(info, device=CPU, dtype=torch.float32, attention=ATTENTION)
    made = find_method("lora").prepare(base, LoraSettings(lora_dropout=0.5), 0)
    with torch.no_grad():  # B starts at zero, which would hide dropout
        for name, parameter in made.parameters.items():
            if "lora_B" in name:
                parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return made


@pytest.fixture(scope="module")
def examples(tuned: Tuned) -> tuple[Encoded, ...]:
    return tuple(
        encode_example(tuned.base.tokenizer, name, chat, answer[:200], max_length=1024)
        for name, chat, answer in general_chats()[:8]
    )


def test_the_loss_is_transformers_own(tuned: Tuned, examples: tuple[Encoded, ...]) -> None:
    ours = score(tuned, examples)
    plain = load_base(tuned.base.info, device=CPU, dtype=torch.float32)
    other = find_method("lora").prepare(plain, LoraSettings(), 0)
    with torch.no_grad():
        for name, parameter in other.parameters.items():
            parameter.copy_(tuned.parameters[name])
    other.model.eval()
    for example, loss in zip(examples, ours, strict=True):
        ids = torch.tensor([example.ids])
        labels = ids.clone()
        labels[:, : example.prompt_length] = -100
        with torch.no_grad():
            theirs = other.model(input_ids=ids, labels=labels).loss
        assert loss.tokens == example.answer_length
        assert loss.loss / loss.tokens == pytest.approx(float(theirs), rel=1e-5)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Generator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("batch_tokens", [1, 333, 100_000])
def test_batches_change_nothing(
    tuned: Tuned, examples: tuple[Encoded, ...], batch_tokens: int
) -> None:
    usual = score(tuned, examples)
    done: list[int] = []
    other = score(tuned, examples, batch_tokens=batch_tokens, on_done=done.append)
    assert [loss.tokens for loss in other] == [loss.tokens for loss in usual]
    assert [loss.loss for loss in other] == pytest.approx([loss.loss for loss in usual], rel=1e-5)
    assert done[-1] == len(examples)
    assert done == sorted(set(done))


@pytest.mark.parametrize("training", [True, False])
def test_scoring_is_without_dropout_and_leaves_the_mode(
    tuned: Tuned, examples: tuple[Encoded, ...], training: bool
) -> None:
    tuned.model.train(training)
    modes = {name: module.training for name, module in tuned.model.named_modules()}
    state = torch.random.get_rng_state()
    first = score(tuned, examples)
    assert first == score(tuned, examples), "no dropout"
    assert {name: module.training for name, module in tuned.model.named_modules()} == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    tuned.model.eval()
    assert score(tuned, examples) == first


def test_the_mode_comes_back_after_an_error(tuned: Tuned, examples: tuple[Encoded, ...]) -> None:
    def fail(done: int) -> None:
        raise RuntimeError("on purpose")

    tuned.model.train()
    with pytest.raises(RuntimeError, match="on purpose"):
        score(tuned, examples, on_done=fail)
    assert tuned.model.training


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_shared_start_is_run_once_and_changes_no_loss(tmp_path: Path, family: str) -> None:
    folder = write_tiny_base(tmp_path / "base", family)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(  # Gemma's window must be counted over the start too
        config.replace('"sliding_window": 4096', '"sliding_window": 40')
    )
    info = BaseStore(tmp_path / "cache").find(str(folder))
    base = load_base(info, device=CPU, dtype=torch.float32, attention=ATTENTION)
    bare = Tuned(method="base", base=base, model=base.model, parameters={})
    shared = [Message(role="system", content="Write as the sea does. " * 20)]
    prompted = [
        encode_example(
            base.tokenizer,
            str(number),
            [*shared, Message(role="user", content="Of rain. " * number)],
            "It rained all day. " * (number + 1),
            max_length=2048,
        )
        for number in range(4)
    ]
    fed: list[int] = []
    trunk = base.model.base_model
    trunk.register_forward_pre_hook(
        lambda _, __, kwargs: fed.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    together = score(bare, prompted)
    assert sum(fed) < 0.6 * sum(len(example.ids) for example in prompted)
    for example, loss in zip(prompted, together, strict=True):
        (alone,) = score(bare, [example])
        assert loss.tokens == alone.tokens
        assert loss.loss == pytest.approx(alone.loss, rel=1e-5)


def test_general_texts_are_well_formed() -> None:
    raw = resources.files("copydesk.evaluate").joinpath("general.jsonl").read_bytes()
    lines = [json.loads(line) for line in raw.decode("utf-8").splitlines()]
    assert len(lines) == 24
    for line in lines:
        assert set(line) == {"id", "kind", "prompt", "text"}
        assert all(isinstance(value, str) and value.strip() == value for value in line.values())
        assert all(line.values())
    for name in ("id", "prompt", "text"):
        assert len({line[name] for line in lines}) == 24, f"every {name} once"
    kinds = [line["kind"] for line in lines]
    assert {kind: kinds.count(kind) for kind in kinds} == {"passage": 12, "instruction": 12}
    assert general_digest() == hashlib.sha256(raw).hexdigest()
    # Losses on these texts are compared between releases: a change of them is a decision.
    assert general_digest() == "ad3cc3a21db612368f5183e52031a2079f05eb83d716c17f91cc6162aa92d165"


def test_general_chats_are_the_texts() -> None:
    chats = general_chats()
    assert len(chats) == 24
    for _, chat, answer in chats:
        (turn,) = chat
        assert turn.role == "user"
        assert turn.content and answer
    assert chats == general_chats()


def test_mean_loss_of_scores(tuned: Tuned, examples: tuple[Encoded, ...]) -> None:
    scored = score(tuned, examples)
    summed = sum(loss.loss for loss in scored)
    assert mean_loss(scored) == summed / sum(example.answer_length for example in examples)
