"""The bank: every member as it would be alone, and no member able to hurt another."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES, write_tiny_base
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForCausalLM

from copydesk.errors import CannotShare
from copydesk.models import (
    ATTENTION,
    Bank,
    Base,
    BaseStore,
    Encoded,
    LoraSettings,
    Share,
    Tuned,
    answer_losses,
    backward_loss,
    backward_losses,
    encode_example,
    find_method,
    load_base,
    pack,
    untuned,
)
from copydesk.records import Message

CPU = torch.device("cpu")
SETTINGS = {
    "acme": LoraSettings(lora_r=2, lora_alpha=4),
    "birch": LoraSettings(
        lora_r=8, lora_alpha=8, lora_dropout=0.2, target_modules=("v_proj", "down_proj")
    ),
    "corvid": LoraSettings(lora_r=5, lora_alpha=20, lora_dropout=0.3, use_rslora=True),
}


def fresh_base(folder: Path) -> Base:
    info = BaseStore(folder.parent / "cache").find(str(folder))
    return load_base(info, device=CPU, dtype=torch.float32, attention=ATTENTION)


def examples_of(base: Base, name: str, count: int) -> list[Encoded]:
    return [
        encode_example(
            base.tokenizer,
            f"{name}{number}",
            [Message(role="user", content=f"Write of {name}. " * (number + 1))],
            f"{name} it is, all day. " * (number + 1),
            max_length=300,
        )
        for number in range(count)
    ]


def stir(tuned: Tuned, seed: int) -> None:
    """Weights that are not zero, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def gradients(tuned: Tuned) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in tuned.parameters.items() if p.grad is not None}
    assert set(found) == set(tuned.parameters)
    return found


def share_of(tuned: Tuned, examples: Sequence[Encoded]) -> Share:
    return Share(
        adapter=tuned.adapter,
        examples=len(examples),
        divisor=sum(example.answer_length for example in examples),
        seeds=tuple(range(100, 100 + len(examples))),
    )


def filled(base: Base) -> tuple[Bank, dict[str, Tuned], dict[str, list[Encoded]]]:
    bank = Bank(base)
    members = {name: bank.add(name, own, seed) for seed, (name, own) in enumerate(SETTINGS.items())}
    for seed, tuned in enumerate(members.values()):
        stir(tuned, seed)
    texts = {name: examples_of(base, name, count) for count, name in enumerate(SETTINGS, start=1)}
    bank.base.model.train()
    return bank, members, texts


def run_together(members: dict[str, Tuned], texts: dict[str, list[Encoded]]) -> dict[str, float]:
    for tuned in members.values():
        tuned.model.zero_grad()
    packed = pack([example for name in members for example in texts[name]])
    shares = [share_of(tuned, texts[name]) for name, tuned in members.items()]
    losses = backward_losses(next(iter(members.values())), packed, shares)
    return dict(zip(members, losses, strict=True))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_alone_equals_together(tmp_path: Path, family: str) -> None:
    """Alone: by `find_method`, on a base of its own, as one client is trained."""
    folder = write_tiny_base(tmp_path / "base", family)
    _, members, texts = filled(fresh_base(folder))
    losses = run_together(members, texts)
    mixed = {name: gradients(tuned) for name, tuned in members.items()}
    for seed, (name, own) in enumerate(SETTINGS.items()):
        solo = find_method("lora").prepare(fresh_base(folder), own, seed)
        stir(solo, seed)
        assert list(solo.parameters) == list(members[name].parameters)
        for place, parameter in solo.parameters.items():
            assert torch.equal(parameter, members[name].parameters[place])
        solo.model.train()
        share = share_of(solo, texts[name])
        loss = backward_loss(solo, pack(texts[name]), divisor=share.divisor, seeds=share.seeds)
        assert losses[name] == pytest.approx(loss, rel=1e-6)
        for place, wanted in gradients(solo).items():
            error = (mixed[name][place] - wanted).norm() / wanted.norm()
            assert error < 1e-5, f"{name} {place}: {error:.1e}"
        if own.target_modules != "all-linear":
            continue  # alone, layers that others adapt run as plain ones: it rounds differently
        # In a batch by itself, in the bank, it is the very same arithmetic.
        run_together({name: members[name]}, texts)
        for place, wanted in gradients(solo).items():
            assert torch.equal(gradients(members[name])[place], wanted), place


def test_a_neighbours_nan_reaches_no_one(tiny_base: Path) -> None:
    _, members, texts = filled(fresh_base(tiny_base))
    losses = run_together(members, texts)
    kept = {name: gradients(tuned) for name, tuned in members.items()}
    for broken in (float("nan"), float("inf")):
        with torch.no_grad():
            for parameter in members["birch"].parameters.values():
                parameter.fill_(broken)
        again = run_together(members, texts)
        assert not math.isfinite(again["birch"])
        for name in ("acme", "corvid"):
            assert again[name] == losses[name]
            for place, grad in gradients(members[name]).items():
                assert torch.equal(grad, kept[name][place]), f"{name} {place}"


def test_members_come_and_go_without_touching_the_others(tiny_base: Path) -> None:
    bank, members, texts = filled(fresh_base(tiny_base))
    bank.base.model.eval()

    def losses(name: str) -> list[float]:
        return [item.loss for item in answer_losses(members[name], pack(texts[name]))]

    before = {name: losses(name) for name in members}
    weights = {
        place: parameter.detach().clone()
        for place, parameter in members["corvid"].parameters.items()
    }
    bank.remove("acme")
    late = bank.add("late", LoraSettings(lora_r=3), 9)
    stir(late, 9)
    bank.remove("birch")
    assert losses("corvid") == before["corvid"]
    assert set(bank.members) == {"corvid", "late"}
    for place, parameter in members["corvid"].parameters.items():
        assert torch.equal(parameter, weights[place])
        assert parameter.requires_grad
    run_together({"late": late, "corvid": members["corvid"]}, texts | {"late": texts["acme"]})
    bank.remove("late")
    bank.remove("corvid")
    plain = fresh_base(tiny_base)
    emptied = [item.loss for item in answer_losses(untuned(bank.base), pack(texts["acme"]))]
    assert emptied == [item.loss for item in answer_losses(untuned(plain), pack(texts["acme"]))]


def test_fresh_members_change_no_bit_of_the_base(tiny_base: Path) -> None:
    base = fresh_base(tiny_base)
    texts = examples_of(base, "acme", 3)
    before = [item.loss for item in answer_losses(untuned(base), pack(texts))]
    bank = Bank(base)
    for seed, (name, own) in enumerate(SETTINGS.items()):
        bank.add(name, own, seed)
    for tuned in bank.members.values():
        tuned.model.eval()
        assert [item.loss for item in answer_losses(tuned, pack(texts))] == before


def test_a_members_export_loads_in_peft(tiny_base: Path, tmp_path: Path) -> None:
    bank, members, _ = filled(fresh_base(tiny_base))
    bank.base.model.eval()
    ids = torch.arange(40)[None]
    for name, tuned in members.items():
        folder = tmp_path / name
        folder.mkdir()
        find_method("lora").save(tuned, folder)
        assert sorted(path.name for path in folder.iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
        loaded: Any = PeftModel.from_pretrained(plain, str(folder))
        with torch.no_grad(), tuned.routed((40,)):
            ours = tuned.model(input_ids=ids, segment_lengths=(40,)).logits
            torch.testing.assert_close(loaded(input_ids=ids).logits, ours, rtol=1e-5, atol=1e-5)


def test_an_initialisation_that_changes_the_base_is_refused(tiny_base: Path) -> None:
    bank = Bank(fresh_base(tiny_base))
    with pytest.raises(CannotShare, match="PiSSA"):
        bank.add("acme", LoraSettings(init_lora_weights="pissa"), 0)
    assert not bank.members


@settings(max_examples=15, deadline=None)
@given(
    clients=st.lists(
        st.tuples(
            st.integers(1, 9),
            st.sampled_from(["all-linear", ("v_proj",), ("gate_proj", "o_proj")]),
            st.sampled_from([0.0, 0.4]),
            st.integers(1, 3),
        ),
        min_size=2,
        max_size=5,
    )
)
def test_any_set_of_clients_is_as_each_alone(tiny_base: Path, clients: list[Any]) -> None:
    base = fresh_base(tiny_base)
    bank = Bank(base)
    members: dict[str, Tuned] = {}
    texts: dict[str, list[Encoded]] = {}
    for seed, (rank, targets, dropout, count) in enumerate(clients):
        name = f"client{seed}"
        own = LoraSettings(lora_r=rank, target_modules=targets, lora_dropout=dropout)
        members[name] = bank.add(name, own, seed)
        stir(members[name], seed)
        texts[name] = examples_of(base, name, count)
    bank.base.model.train()
    run_together(members, texts)
    together = {name: gradients(tuned) for name, tuned in members.items()}
    for name, tuned in members.items():
        run_together({name: tuned}, texts)
        for place, wanted in gradients(tuned).items():
            error = (together[name][place] - wanted).norm() / wanted.norm().clamp_min(1e-12)
            assert error < 1e-5, f"{name} {place}"


def test_a_member_is_what_peft_makes_whoever_came_before(tiny_base: Path, tmp_path: Path) -> None:
    """The second of the same targets is added to the layers that the first was found in."""
    bank = Bank(fresh_base(tiny_base))
    own = LoraSettings(lora_r=3, lora_alpha=12, lora_dropout=0.1, use_rslora=True)
    bank.add("acme", SETTINGS["acme"], 4)
    bank.add("birch", SETTINGS["birch"], 5)
    bank.base.model.eval()
    second = bank.add("corvid", own, 7)
    alone = find_method("lora").prepare(fresh_base(tiny_base), own, 7)
    assert list(second.parameters) == list(alone.parameters)
    for name, parameter in alone.parameters.items():
        assert torch.equal(second.parameters[name], parameter)
        assert second.parameters[name].requires_grad
    for number, tuned in enumerate((second, alone)):
        stir(tuned, 1)
        (tmp_path / str(number)).mkdir()
        find_method("lora").save(tuned, tmp_path / str(number))
    left, right = (
        {file.name: file.read_bytes() for file in (tmp_path / number).iterdir()}
        for number in ("0", "1")
    )
    assert left == right
    assert not any(module.training for module in bank.base.model.modules())

    bank.remove("acme")
    examples = examples_of(bank.base, "corvid", 3)
    found = answer_losses(second, pack(examples))
    alone.model.eval()
    assert found == answer_losses(alone, pack(examples))
    bank.remove("birch")
    bank.remove("corvid")
    assert answer_losses(untuned(bank.base), pack(examples)) == answer_losses(
        untuned(fresh_base(tiny_base)), pack(examples)
    )
