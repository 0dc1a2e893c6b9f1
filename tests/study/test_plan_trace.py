"""The trace against the loop itself, run on real numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, LlamaConfig, Qwen3MoeConfig

from copydesk.models import (
    ATTENTION,
    METHODS,
    BaseInfo,
    Encoded,
    Tuned,
    backward_loss,
    find_method,
    load_base,
    pack,
)
from copydesk.study._trace import DEPTHS, trace_micro, trained_shapes

CPU = torch.device("cpu")
LENGTHS = (96, 64)
SHARE = 0.75


def loaded(folder: Path, method: str) -> Tuned:
    found = find_method(method)
    own = found.settings()
    info = BaseInfo(name="tiny", path=folder, digest="", bytes=0)
    base = load_base(
        info,
        device=CPU,
        dtype=torch.float32,
        attention=ATTENTION,
        quantisation=found.quantisation(own),
    )
    tuned = found.prepare(base, own, 0)
    tuned.model.train()
    return tuned


def micro_batch() -> Any:
    examples = [
        Encoded(id=str(length), ids=(1,) * length, prompt_length=round(length * (1 - SHARE)))
        for length in LENGTHS
    ]
    return pack(examples), sum(example.answer_length for example in examples)


def run_loss(tuned: Tuned) -> None:
    packed, divisor = micro_batch()
    backward_loss(tuned, packed, divisor=divisor)


def allocated_peak(run: Callable[[], None]) -> int:
    """The most bytes that PyTorch's allocator had given out at once, by its own profiler."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    results: Any = profile.profiler.kineto_results  # type: ignore[union-attr]
    changes = [event for event in results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def traced(folder: Path, method: str, **changes: Any) -> Any:
    options: dict[str, Any] = {"lengths": LENGTHS, "accumulates": False, **changes}
    return trace_micro(
        AutoConfig.from_pretrained(folder),
        method,
        find_method(method).settings(),
        dtype=torch.float32,
        answer_share=SHARE,
        **options,
    )


@pytest.mark.parametrize("method", ["lora", "full", "dora", "prefix", "prompt", "bottleneck"])
def test_the_peak_is_what_the_allocator_gives_out(method: str, tiny_base: Path) -> None:
    tuned = loaded(tiny_base, method)
    run_loss(tuned)  # what is made once is made
    for parameter in tuned.parameters.values():
        parameter.grad = None
    real = allocated_peak(lambda: run_loss(tuned))
    assert traced(tiny_base, method).peak.total == pytest.approx(real, rel=0.05)


@pytest.mark.parametrize("method", ["lora", "full", "prefix"])
def test_products_are_those_that_are_done(method: str, tiny_base: Path) -> None:
    tuned = loaded(tiny_base, method)
    with FlopCounterMode(display=False) as counter:
        run_loss(tuned)
    counts: dict[Any, int] = counter.get_flop_counts()["Global"]
    real = sum(
        flops
        for operation, flops in counts.items()
        if not any(word in str(operation) for word in ("attention", "bmm"))  # ours is batched
    )
    attention = {
        operation: times
        for operation, times in traced(tiny_base, method).work.items()
        if operation.flops
    }
    ours = sum(operation.flops * times for operation, times in attention.items())
    tokens = sum(length**2 for length in LENGTHS)
    heads = 4 * 16 * 2  # heads x width x layers
    upper = 4 * tokens * heads * 3.5  # no causal kernel and no prefix goes beyond it by much
    assert real <= ours <= real + 1.5 * upper


@pytest.mark.parametrize("method", METHODS)
def test_trained_tensors_are_those_of_the_real_method(method: str, tiny_base: Path) -> None:
    tuned = loaded(tiny_base, method)
    counted = trained_shapes(
        AutoConfig.from_pretrained(tiny_base), method, find_method(method).settings()
    )
    real: dict[tuple[int, ...], int] = {}
    for parameter in tuned.parameters.values():
        real[tuple(parameter.shape)] = real.get(tuple(parameter.shape), 0) + 1
    assert counted == real


def deep_config(layers: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=500,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )


@pytest.mark.parametrize("method", ["lora", "full", "prefix"])
def test_a_deep_model_follows_from_two_depths(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trace() -> Any:
        return trace_micro(
            deep_config(14),
            method,
            find_method(method).settings(),
            dtype=torch.float32,
            lengths=[128],
            answer_share=SHARE,
            accumulates=True,
        )

    extrapolated = trace()
    monkeypatch.setattr("copydesk.study._trace.DEPTHS", (DEPTHS[0], 14))
    whole = trace()
    assert extrapolated.trained == whole.trained
    assert extrapolated.peak.total == pytest.approx(whole.peak.total, rel=0.01)

    def flops(of: Any) -> float:
        return sum(operation.flops * times for operation, times in of.work.items())

    assert flops(extrapolated) == pytest.approx(flops(whole))


def test_a_second_micro_batch_finds_the_gradients_of_the_first(tiny_base: Path) -> None:
    first, second = (traced(tiny_base, "full", accumulates=again) for again in (False, True))
    trained = sum(torch.Size(shape).numel() * count for shape, count in second.trained.items())
    assert second.peak.gradients == pytest.approx(4 * trained, rel=0.01)
    assert second.peak.total > first.peak.total


def test_dropout_and_pissa_do_not_stand_in_the_way(tiny_base: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_base)
    settings = find_method("lora").settings
    own = settings(lora_dropout=0.1, init_lora_weights="pissa")
    options: dict[str, Any] = {
        "dtype": torch.float32,
        "lengths": [32],
        "answer_share": SHARE,
        "accumulates": False,
    }
    other = trace_micro(config, "lora", own, **options)
    assert other == trace_micro(config, "lora", settings(), **options)


def test_experts_run_and_take_an_adapter_each() -> None:
    config = Qwen3MoeConfig(
        vocab_size=500,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
    )
    found = trace_micro(
        config,
        "lora",
        find_method("lora").settings(lora_r=4),
        dtype=torch.float32,
        lengths=[64],
        answer_share=SHARE,
        accumulates=False,
    )
    attention = 4 * (64 + 64 + 2 * (64 + 32) + 64 + 64)  # q, k and v, o
    router = 4 * (64 + 8)
    # Gate and up are one tensor, of twice the rank; every expert has pairs of its own.
    experts = 8 * (2 * 4 * (64 + 64) + 4 * (32 + 64))
    trained = sum(torch.Size(shape).numel() * count for shape, count in found.trained.items())
    assert trained == 2 * (attention + router + experts)
    copies = 2 * 4 * 8 * 64 * (64 + 32)  # of both layers' experts, with the adapter folded in
    assert found.peak.activations > copies
