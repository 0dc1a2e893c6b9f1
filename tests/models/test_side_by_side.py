"""Batches side by side: the gradients that they give one after another, to the bit."""

import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_base
from test_bank import SETTINGS, examples_of, fresh_base, stir

from copydesk.models import (
    Bank,
    Batch,
    Encoded,
    Lanes,
    Share,
    Tuned,
    backward_batches,
    find_method,
    make_lanes,
    pack,
)
from copydesk.models import _side_by_side as side_by_side


@pytest.fixture
def two_threads() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def batch_of(examples: list[Encoded], *members: Tuned, seed: int = 0) -> Batch:
    """Examples of which every member has as many."""
    each = len(examples) // len(members)
    return Batch(
        tuned=members[0],
        packed=pack(examples),
        shares=tuple(
            Share(
                adapter=member.adapter,
                examples=each,
                divisor=77,
                seeds=tuple(range(seed, seed + each)),
            )
            for member in members
        ),
        parameters=tuple(weight for member in members for weight in member.parameters.values()),
    )


def outcome(batches: list[Batch], lanes: Lanes) -> tuple[list[list[float]], list[torch.Tensor]]:
    parameters = list({id(p): p for batch in batches for p in batch.parameters}.values())
    for parameter in parameters:
        parameter.grad = None
    losses = backward_batches(batches, lanes)
    grads = [parameter.grad for parameter in parameters]
    return losses, [grad.clone() for grad in grads if grad is not None]


def watch(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the threads that have computed gradients apart."""
    seen: set[str] = set()
    real = side_by_side.loss_gradients
    gate = threading.Barrier(2, timeout=60)

    def noted(*args: Any) -> Any:
        if threading.current_thread().name not in seen:
            seen.add(threading.current_thread().name)
            gate.wait()  # both threads are under way at once
        return real(*args)

    monkeypatch.setattr(side_by_side, "loss_gradients", noted)
    return seen


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("method", ["lora", "dora", "prefix", "prompt", "bottleneck"])
def test_side_by_side_equals_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    base = fresh_base(write_tiny_base(tmp_path / "base"))
    found = find_method(method)
    own = found.settings(**({"lora_dropout": 0.3} if method == "lora" else {}))
    tuned = found.prepare(base, own, 0)
    stir(tuned, 1)
    tuned.model.train()
    lanes = make_lanes(tuned, 1024)
    assert lanes == Lanes(tokens=512, beside=True)
    examples = examples_of(base, "acme", 6)
    batches = [batch_of([example], tuned, seed=n) for n, example in enumerate(examples)]
    torch.set_num_threads(1)
    expected = outcome(batches, lanes)
    torch.set_num_threads(2)
    threads = watch(monkeypatch)
    losses, grads = outcome(batches, lanes)
    assert len(threads) == 2
    assert torch.get_num_threads() == 2
    assert losses == expected[0]
    for left, right in zip(grads, expected[1], strict=True):
        assert torch.equal(left, right)
    assert any(grad.abs().max() > 0 for grad in grads)


@pytest.mark.usefixtures("two_threads")
def test_members_of_a_bank_keep_to_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = fresh_base(write_tiny_base(tmp_path / "base"))
    bank = Bank(base)
    members = [bank.add(name, own, 0) for name, own in SETTINGS.items()]
    for number, member in enumerate(members):
        stir(member, number)
    base.model.train()
    texts = [examples_of(base, name, 2) for name in SETTINGS]
    batches = [
        batch_of([*texts[0], *texts[1]], members[0], members[1], seed=3),
        batch_of(texts[2], members[2], seed=9),
        batch_of([*texts[1], *texts[0]], members[1], members[0], seed=5),
        batch_of(texts[0], members[0], seed=13),
    ]
    lanes = make_lanes(members[0], 1024)
    torch.set_num_threads(1)
    expected = outcome(batches, lanes)
    torch.set_num_threads(2)
    threads = watch(monkeypatch)
    losses, grads = outcome(batches, lanes)
    assert len(threads) == 2
    assert losses == expected[0]
    for left, right in zip(grads, expected[1], strict=True):
        assert torch.equal(left, right)


@pytest.mark.usefixtures("two_threads")
def test_long_batches_run_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = fresh_base(write_tiny_base(tmp_path / "base"))
    tuned = find_method("lora").prepare(base, find_method("lora").settings(), 0)
    stir(tuned, 1)
    examples = examples_of(base, "acme", 3)
    batches = [batch_of([example], tuned) for example in examples]
    least = min(len(example.ids) for example in examples)
    called: list[tuple[int, int, int]] = []
    under_way = 0
    real = side_by_side.loss_gradients

    def noted(tuned: Tuned, packed: Any, *rest: Any) -> Any:
        nonlocal under_way
        called.append((packed.rows, torch.get_num_threads(), under_way))
        under_way += 1
        found = real(tuned, packed, *rest)
        under_way -= 1
        return found

    monkeypatch.setattr(side_by_side, "loss_gradients", noted)
    outcome(batches, Lanes(tokens=least - 1, beside=True))
    threads = torch.get_num_threads()
    assert called == [(len(example.ids), threads, 0) for example in examples]


def test_what_would_meet_is_not_run_side_by_side(tmp_path: Path) -> None:
    base = fresh_base(write_tiny_base(tmp_path / "base"))
    dora = find_method("dora")
    drawing = dora.prepare(base, dora.settings(lora_dropout=0.1), 0)  # PEFT's own dropout
    assert make_lanes(drawing, 1024) == Lanes(tokens=1024, beside=False)
    base = fresh_base(tmp_path / "base")
    full = find_method("full")
    assert not make_lanes(full.prepare(base, full.settings(), 0), 1024).beside
    base = fresh_base(tmp_path / "base")
    lora = find_method("lora")
    tuned = lora.prepare(base, lora.settings(), 0)
    assert make_lanes(tuned, 1024).beside
    tuned.model.config.attention_dropout = 0.1
    assert not make_lanes(tuned, 1024).beside


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_one_batch_is_raised_and_ends_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = fresh_base(write_tiny_base(tmp_path / "base"))
    tuned = find_method("lora").prepare(base, find_method("lora").settings(), 0)
    batches = [batch_of([example], tuned) for example in examples_of(base, "acme", 4)] * 5
    calls: list[int] = []

    def refused(*_: Any) -> Any:
        calls.append(1)
        time.sleep(0.1)
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(side_by_side, "loss_gradients", refused)
    with pytest.raises(RuntimeError, match="allocate"):
        backward_batches(batches, make_lanes(tuned, 1024))
    assert len(calls) < len(batches)
    assert torch.get_num_threads() == 2
