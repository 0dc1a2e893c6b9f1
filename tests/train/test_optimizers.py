"""Optimisers against float32 AdamW, against their claims, and against wrong combinations."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from training import CPU, prepared, run_loop

from copydesk.errors import InvalidInput
from copydesk.models import Tuned, eight_bit_adamw
from copydesk.models._optimizers import SLICE
from copydesk.train._bf16 import Bf16AdamW, round_by_chance
from copydesk.train._optimizers import check_optimizer, make_optimizer, optimizer_bytes, set_rate

BF16 = torch.bfloat16


def test_rounding_by_chance_keeps_the_mean() -> None:
    values = torch.tensor([1.0, 1.0009765625, -3.14159, 1e-5, 0.3, -7e4, 0.0])
    rounds = 4000
    noise = torch.Generator().manual_seed(3)
    drawn = torch.stack([round_by_chance(values, noise).double() for _ in range(rounds)])
    down = (values.view(torch.int32) & ~0xFFFF).view(torch.float32).double()
    up = ((values.view(torch.int32) & ~0xFFFF) + 0x10000).view(torch.float32).double()
    assert bool(((drawn == down) | (drawn == up)).all())
    exact = values == down.float()
    assert bool((drawn[:, exact] == values[exact]).all())
    error = drawn.std(dim=0) / math.sqrt(rounds)
    assert bool(((drawn.mean(dim=0) - values.double()).abs() <= 4 * error + 1e-12).all())


def test_steps_smaller_than_the_format_arrive_in_the_mean() -> None:
    """A step of 1e-4 at a weight of 1 is a 39th of bfloat16's distance to the next number."""
    weight = torch.nn.Parameter(torch.ones(10_000, dtype=BF16))
    optimizer = Bf16AdamW([{"params": [weight]}], learning_rate=1e-4, master=False, seed=1)
    for _ in range(50):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert float(weight.detach().double().mean()) == pytest.approx(1 - 50e-4, abs=2e-4)
    plain = torch.ones(10_000, dtype=BF16)
    for _ in range(50):
        plain -= 1e-4
    assert bool((plain == 1).all())


def test_the_second_moment_decays_in_bfloat16() -> None:
    weight = torch.nn.Parameter(torch.ones(10_000, dtype=BF16))
    optimizer = Bf16AdamW([{"params": [weight]}], learning_rate=0.0, master=False, seed=1)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    first = float(optimizer.state[weight]["exp_avg_sq"].double().mean())
    for _ in range(200):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    left = float(optimizer.state[weight]["exp_avg_sq"].double().mean())
    assert left / first == pytest.approx(0.999**200, rel=0.01)


def test_master_weights_are_torchs_adamw() -> None:
    torch.manual_seed(2)
    start = torch.randn(300, 40).to(BF16)
    weight = torch.nn.Parameter(start.clone())
    ours = Bf16AdamW([{"params": [weight], "weight_decay": 0.1}], learning_rate=1e-3, master=True)
    reference = torch.nn.Parameter(start.float())
    theirs = torch.optim.AdamW([reference], lr=1e-3, weight_decay=0.1)
    for _ in range(20):
        gradient = torch.randn(300, 40).to(BF16)
        weight.grad, reference.grad = gradient, gradient.float()
        ours.step()
        theirs.step()
    torch.testing.assert_close(
        ours.state[weight]["master"], reference.detach(), rtol=1e-5, atol=1e-6
    )
    assert torch.equal(weight.detach(), ours.state[weight]["master"].to(BF16))


def test_a_large_tensor_is_stepped_in_slices_as_it_would_be_whole() -> None:
    from bitsandbytes.optim.adamw import AdamW

    torch.manual_seed(4)
    start = torch.randn(SLICE // 512 + 3, 513)
    assert SLICE < start.numel() < 2 * SLICE
    ours, whole = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    group: dict[str, Any] = {"params": [ours], "weight_decay": 0.01}
    sliced = eight_bit_adamw([group], learning_rate=1e-3, paged=False)
    plain: Any = AdamW([whole], lr=1e-3, weight_decay=0.01, optim_bits=8)
    for _ in range(3):
        ours.grad = torch.randn_like(ours)
        whole.grad = ours.grad.clone()
        sliced.step()
        plain.step()
    assert torch.equal(ours, whole)
    assert torch.equal(sliced.state[ours]["state2"], plain.state[whole]["state2"])


RUNS: list[tuple[str, dict[str, Any], float]] = [
    ("adamw", {"dtype": "bfloat16"}, 0.05),
    ("adamw_8bit", {"dtype": "float32"}, 0.05),
    ("adamw_bf16", {"dtype": "bfloat16"}, 0.15),
]


@pytest.mark.parametrize(
    ("name", "how", "near"), RUNS, ids=[f"{r[0]}-{r[1]['dtype']}" for r in RUNS]
)
def test_losses_follow_float32_adamw(
    tiny_base: Path, tmp_path: Path, name: str, how: dict[str, Any], near: float
) -> None:
    same = {"max_steps": 40, "epochs": 100, "batch_tokens": 400, "learning_rate": 1e-3}

    def losses(folder: str, **settings: Any) -> list[float]:
        tuned, run = prepared(tiny_base, "full", **same, **settings)
        curve = run_loop(tuned, run, tmp_path / folder, seconds=1e9).curve
        return [point.train_loss for point in curve if point.train_loss is not None]

    ours, reference = losses("ours", optimizer=name, **how), losses("reference")
    apart = max(abs(a - b) / b for a, b in zip(ours, reference, strict=True))
    assert apart < near
    assert reference[-1] < 0.6 * reference[0]  # it learned, so that there is something to follow


@pytest.mark.parametrize(
    ("method", "name", "dtype"),
    [
        ("lora", "adamw", "float32"),
        ("full", "adamw", "float32"),
        ("full", "adamw", "bfloat16"),
        ("full", "adamw_8bit", "float32"),
        ("full", "adamw_bf16", "bfloat16"),
    ],
)
def test_the_state_takes_what_is_claimed(
    tiny_base: Path, method: str, name: Any, dtype: str
) -> None:
    tuned, _ = prepared(tiny_base, method, dtype=dtype)
    optimizer = make_optimizer(tuned, name, learning_rate=1e-3, weight_decay=0.0, seed=0)
    for parameter in tuned.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    storages = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for state in optimizer.state.values()
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and key != "step"
    }
    assert sum(storages.values()) == optimizer_bytes(name, tuned.parameters)


def test_eight_bit_steps_take_no_more_than_a_few_slices() -> None:
    """The peak of a step over a large tensor, beside weights, gradients and state."""
    from copydesk.train import PeakMemory

    weight = torch.nn.Parameter(torch.ones(24 * SLICE))
    weight.grad = torch.ones_like(weight)
    optimizer = eight_bit_adamw([{"params": [weight]}], learning_rate=1e-3, paged=False)
    optimizer.step()
    memory = PeakMemory(CPU)
    with memory.watching():
        pass
    before = memory.bytes
    with memory.watching():
        optimizer.step()
    assert memory.bytes - before < 2 * weight.numel()


@pytest.mark.parametrize(
    ("name", "trained", "device", "said"),
    [
        ("adamw_bf16", torch.float32, "cpu", "adamw_bf16 is for bfloat16 weights"),
        ("adamw_8bit", BF16, "cpu", "would lose small steps of bfloat16"),
        ("paged_adamw_8bit", torch.float32, "cpu", "between a CUDA device and its host"),
    ],
)
def test_what_does_not_go_together_is_refused(
    name: Any, trained: torch.dtype, device: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_optimizer(name, trained, torch.device(device))
    check_optimizer("adamw", trained, torch.device(device))


def test_an_optimiser_that_cannot_work_stops_before_anything_is_run(
    tiny_base: Path, tmp_path: Path
) -> None:
    tuned, run = prepared(tiny_base, "lora", optimizer="adamw_bf16")
    with pytest.raises(InvalidInput, match="adamw_bf16"):
        run_loop(tuned, run, tmp_path / "run")
    assert not list(tmp_path.rglob("metrics.jsonl"))


def factored(tuned: Tuned, factor: float) -> Tuned:
    names = [name for name in tuned.parameters if "lora_B" in name]
    tuned.rate_factors = dict.fromkeys(names, factor)
    return tuned


def test_rate_factors_and_decay_are_torchs_groups(tiny_base: Path) -> None:
    """LoRA+ (Hayou et al. 2024): B learns faster than A."""
    tuned = factored(prepared(tiny_base, "lora")[0], 16.0)
    ours = make_optimizer(tuned, "adamw", learning_rate=1e-3, weight_decay=0.2, seed=0)
    set_rate(ours, 5e-4)
    copies = {name: torch.nn.Parameter(p.detach().clone()) for name, p in tuned.parameters.items()}
    fast = [p for name, p in copies.items() if "lora_B" in name]
    slow = [p for name, p in copies.items() if "lora_B" not in name]
    theirs = torch.optim.AdamW(
        [{"params": slow, "lr": 5e-4}, {"params": fast, "lr": 8e-3}], weight_decay=0.2
    )
    torch.manual_seed(1)
    for _ in range(3):
        for name, parameter in tuned.parameters.items():
            parameter.grad = torch.randn_like(parameter)
            copies[name].grad = parameter.grad.clone()
        ours.step()
        theirs.step()
    for name, parameter in tuned.parameters.items():
        torch.testing.assert_close(parameter, copies[name], rtol=1e-6, atol=1e-7)


def test_vectors_do_not_decay(tiny_base: Path) -> None:
    tuned, _ = prepared(tiny_base, "full")
    optimizer = make_optimizer(tuned, "adamw", learning_rate=1e-3, weight_decay=0.5, seed=0)
    before = {name: p.detach().clone() for name, p in tuned.parameters.items()}
    for parameter in tuned.parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in tuned.parameters.items():
        kept = 1 - 1e-3 * 0.5 if parameter.dim() > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept, rtol=1e-6, atol=1e-8)
