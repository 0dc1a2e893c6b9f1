"""What a run needs, against what is measured, and runs in too little memory."""

import gc
import json
import re
import weakref
from pathlib import Path

import pytest
import torch
from conftest import byte_tokenizer
from training import CPU, Children, prepared, run_loop
from transformers import AutoModelForCausalLM, LlamaConfig

from copydesk.errors import OutOfMemory
from copydesk.models import Encoded, backward_loss, free_memory, pack
from copydesk.train import PeakMemory
from copydesk.train._capacity import (
    LEAST_TOKENS,
    Need,
    _control_groups,
    free_bytes,
    measure_need,
    memory_errors,
    micro_tokens,
    tokens_at_once,
    used_bytes,
)
from copydesk.train._optimizers import make_optimizer

AT_ONCE = tokens_at_once("cpu", 2048)
NEED = Need(gradients=1000, optimizer=2000, logits=500, token=10.0)


def test_larger_batches_run_where_a_step_fills_two_pairs() -> None:
    found = [tokens_at_once("cpu", step) for step in (64, 1024, 2688, 3072, 2**20)]
    assert found == [896, 896, 1344, 1536, 1536]
    assert tokens_at_once("cuda", 64) == tokens_at_once("cuda", 2**20) == 16_384


def test_micro_batches_shrink_until_they_fit() -> None:
    assert micro_tokens(NEED, AT_ONCE, 100, 1_000_000) == AT_ONCE
    assert micro_tokens(NEED, AT_ONCE, 100, NEED.at(AT_ONCE)) == AT_ONCE
    assert micro_tokens(NEED, AT_ONCE, 100, NEED.at(AT_ONCE) - 1) == AT_ONCE // 2
    assert micro_tokens(NEED, AT_ONCE, 10, NEED.at(20)) == LEAST_TOKENS
    assert micro_tokens(NEED, 896, 10, NEED.at(20)) == LEAST_TOKENS
    with pytest.raises(OutOfMemory, match=r"max_length that fits is 96: --set max_length=96"):
        micro_tokens(NEED, AT_ONCE, 200, NEED.at(100))
    with pytest.raises(OutOfMemory, match="No max_length fits"):
        micro_tokens(NEED, AT_ONCE, 200, NEED.fixed)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_measuring_leaves_nothing_behind(tiny_base: Path, method: str) -> None:
    """A graph that held itself once kept every run's model in memory until the process ended."""
    tuned, run = prepared(tiny_base, method)
    example = Encoded(id="x", ids=tuple(range(100)), prompt_length=50)
    measure_need(tuned, [example], run)
    gone = [weakref.ref(parameter) for parameter in tuned.model.parameters()]
    del tuned
    gc.collect()
    assert not any(reference() is not None for reference in gone)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_estimate_is_near_what_is_measured(tiny_base: Path, method: str) -> None:
    tuned, run = prepared(tiny_base, method)
    ids = torch.randint(0, 250, (16, 512), generator=torch.Generator().manual_seed(1)).tolist()
    examples = [Encoded(id=str(n), ids=tuple(row), prompt_length=9) for n, row in enumerate(ids)]
    need = measure_need(tuned, examples, run)
    optimizer = make_optimizer(tuned, "adamw", learning_rate=1e-3, weight_decay=0.0, seed=0)
    tuned.model.train()
    packed = pack(examples)
    free_memory()
    memory, before = PeakMemory(CPU), used_bytes(CPU)
    with memory.watching():
        backward_loss(tuned, packed, divisor=packed.targets)
        optimizer.step()
    assert need.at(packed.rows) == pytest.approx(memory.bytes - before, rel=0.5)


def test_smaller_micro_batches_give_the_same_run(tiny_base: Path, tmp_path: Path) -> None:
    """The micro-batch is a matter of memory; a resumed run keeps the one it started with."""
    settings = {"max_steps": 4, "batch_tokens": 800}
    large, run = prepared(tiny_base, "lora", **settings)
    expected = run_loop(large, run, tmp_path / "large", seconds=1e9)
    small, run = prepared(tiny_base, "lora", **settings)
    with pytest.raises(KeyboardInterrupt):
        run_loop(small, run, tmp_path / "small", stop_at=2)
    for manifest in (tmp_path / "small").glob("checkpoint-*/manifest.json"):
        changed = json.loads(manifest.read_text())
        changed["facts"]["micro_tokens"] = 128
        manifest.write_text(json.dumps(changed))
    small, run = prepared(tiny_base, "lora", **settings)
    result = run_loop(small, run, tmp_path / "small")
    at_once = tokens_at_once("cpu", settings["batch_tokens"])
    assert (expected.micro_tokens, result.micro_tokens) == (at_once, 128)
    for ours, theirs in zip(result.curve[3:], expected.curve[3:], strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
        assert ours.train_loss != theirs.train_loss or ours.step == 3


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_what_allocators_raise_is_out_of_memory(error: Exception) -> None:
    with pytest.raises(OutOfMemory, match="were in use"), memory_errors("It", CPU, "Rest."):
        raise error


def test_a_real_refusal_says_what_was_asked_for() -> None:
    said = pytest.raises(OutOfMemory, match=r"400000\.00 GB more were asked for")
    with said, memory_errors("It", CPU, "Rest."):
        torch.empty(10**14, dtype=torch.float32)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors("It", CPU, "Rest."):
        raise RuntimeError("shape mismatch")


def test_control_groups_of_both_versions_bound_what_is_free(tmp_path: Path) -> None:
    lines = Path("/proc/self/cgroup")
    if not lines.is_file():
        pytest.skip("needs Linux's control groups")
    assert all(left > 0 for left in _control_groups())
    for top, limit, used in (
        (tmp_path, "memory.max", "memory.current"),
        (tmp_path / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        top.mkdir(exist_ok=True)
        (top / limit).write_text("1000\n")
        (top / used).write_text("700\n")
        (top / "memory.stat").write_text("anon 5\ninactive_file 50\n")
    # The groups of this process hang below the two tops, whichever versions it has.
    assert set(_control_groups(tmp_path)) == {350}


def test_free_memory_is_what_the_system_has() -> None:
    import psutil

    assert 0 < free_bytes(CPU) <= psutil.virtual_memory().total


def test_a_run_adapts_to_its_address_space_or_says_what_would_fit(
    forker: Children, tmp_path: Path
) -> None:
    """750 tokens an example: a whole micro-batch, one example, and less than one fit in turn."""
    config = LlamaConfig(
        **{
            "vocab_size": 260,
            "hidden_size": 512,
            "intermediate_size": 1536,
            "num_hidden_layers": 4,
        },
        **{"num_attention_heads": 8, "num_key_value_heads": 4, "eos_token_id": 256},
    )
    base = tmp_path / "base"
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(base)
    byte_tokenizer().save_pretrained(base)
    assert forker.squeeze(base, tmp_path, 2000) == AT_ONCE
    assert forker.squeeze(base, tmp_path, 900) == AT_ONCE // 2
    refused = forker.squeeze(base, tmp_path, 300)
    fits = re.search(r"--set max_length=(\d+)", str(refused))
    assert fits and 200 <= int(fits[1]) <= 300
