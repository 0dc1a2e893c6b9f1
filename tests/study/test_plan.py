"""Plans: counts against PEFT and arithmetic, memory by part, what fits, what a machine costs."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM

from copydesk.errors import InvalidInput, UnknownName
from copydesk.models import find_method
from copydesk.study import find_architecture, find_machine, hardware_names, plan
from copydesk.study._calibrate import fitted_efficiency
from copydesk.study._claims import claims_table
from copydesk.study._hardware import Machine
from copydesk.study._plan import size_run
from copydesk.study._time_model import epoch_seconds, step_seconds, work_seconds
from copydesk.study._trace import Operation, _with_depth, trained_shapes

FAMILIES = (
    "llama-3.2-1b",
    "qwen2.5-0.5b",
    "qwen3-0.6b",
    "qwen3-30b-a3b",
    "gemma-2-2b",
    "gemma-3-1b",
    "mistral-7b",
    "mixtral-8x7b",
    "phi-3.5-mini",
    "gpt-oss-20b",
    "deepseek-v3",
)
LAYERS = 9
"""More than are traced, so that the count is extrapolated; fewer than models have, for speed."""
SMALL = {"max_length": "64", "batch_tokens": "64"}


def config_of(name: str, layers: int | None, tmp_path: Path) -> Any:
    config = find_architecture(name, cache=tmp_path).config
    return config if layers is None else _with_depth(config, layers)


def peft_count(name: str, config: Any, tmp_path: Path, layers: int | None = LAYERS) -> int:
    """PEFT's own count, on the architecture without numbers."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(name, layers, tmp_path))
    trained, _ = get_peft_model(model, config).get_nb_trainable_parameters()
    return trained


def our_count(
    name: str, method: str, tmp_path: Path, layers: int | None = LAYERS, **settings: Any
) -> int:
    config = config_of(name, layers, tmp_path)
    found = trained_shapes(config, method, find_method(method).settings(**settings))
    return sum(torch.Size(shape).numel() * count for shape, count in found.items())


@pytest.mark.filterwarnings("ignore:The following rank_pattern", "ignore:The following alpha_pat")
@pytest.mark.parametrize("name", FAMILIES)
def test_lora_trains_as_many_numbers_as_peft_counts(name: str, tmp_path: Path) -> None:
    config = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    assert our_count(name, "lora", tmp_path, lora_r=8) == peft_count(name, config, tmp_path)


def test_a_whole_model_is_counted_as_peft_does(tmp_path: Path) -> None:
    config = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    counted = our_count("smollm2-135m", "lora", tmp_path, None, lora_r=16)
    assert counted == peft_count("smollm2-135m", config, tmp_path, None) == 4_884_480


def test_rank_dora_qlora_prefix_and_prompt_are_counted_as_peft_does(tmp_path: Path) -> None:
    name = "llama-3.2-1b"
    low_rank: dict[str, Any] = {"r": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    lora = peft_count(name, LoraConfig(**low_rank), tmp_path)
    assert our_count(name, "lora", tmp_path, lora_r=16) == lora
    assert our_count(name, "qlora", tmp_path, lora_r=16) == lora
    dora = peft_count(name, LoraConfig(**low_rank, use_dora=True), tmp_path)
    assert our_count(name, "dora", tmp_path, lora_r=16) == dora
    for projected in (False, True):
        prefix = PrefixTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=20, prefix_projection=projected
        )
        counted = our_count(name, "prefix", tmp_path, prefix_projection=projected)
        assert counted == peft_count(name, prefix, tmp_path)
    assert our_count(name, "prompt", tmp_path) == 20 * 2048
    # Down and up of 2048 / 16 = 128, with biases, behind each layer.
    assert our_count(name, "bottleneck", tmp_path) == LAYERS * (2 * 2048 * 128 + 128 + 2048)
    houlsby = our_count(name, "bottleneck", tmp_path, placement="houlsby")
    assert houlsby == 2 * LAYERS * (2 * 2048 * 128 + 128 + 2048)


def test_a_plan_of_a_70b_model_follows_from_arithmetic(tmp_path: Path) -> None:
    found = plan(
        find_architecture("llama-3.1-70b", cache=tmp_path),
        "lora",
        find_machine("h100x8"),
        settings={"lora_r": "8", **SMALL},
        epoch_tokens=500_000,
    )
    # Each of 80 layers: q, k, v, o, gate, up, down; r (in + out).
    sides = (8192 + 8192) * 2 + (8192 + 1024) * 2 + (8192 + 28672) * 3
    assert found.trainable_parameters == 80 * 8 * sides
    assert found.total_parameters == 70_553_706_496
    base = 2 * found.total_parameters
    adapter = 4 * found.trainable_parameters
    assert found.memory.weights == pytest.approx((base + adapter) / 8, rel=1e-3)
    assert found.memory.optimizer == pytest.approx(2 * adapter / 8, rel=1e-6)
    assert found.memory.quantisation == 0
    assert found.peak_memory_bytes == found.memory.total
    assert found.fits
    assert found.artifact_bytes == adapter
    assert found.checkpoint_bytes == 3 * adapter
    assert found.cost_usd == pytest.approx(
        3 * (found.epoch_seconds or 0) / 3600 * (find_machine("h100x8").hourly_usd or 0)
    )
    assert found.largest_batch_tokens is not None
    assert found.largest_batch_tokens > 64


def test_full_needs_sixteen_bytes_a_number(tmp_path: Path) -> None:
    found = plan(
        find_architecture("smollm2-135m", cache=tmp_path),
        "full",
        find_machine("h100"),
        # Two micro-batches a step: at the peak of the second all gradients are there.
        settings={"max_length": "128", "batch_tokens": "32768"},
    )
    numbers = found.total_parameters
    assert found.trainable_parameters == numbers
    parts = found.memory
    assert parts.weights == pytest.approx(4 * numbers, rel=1e-3)
    assert parts.gradients == pytest.approx(4 * numbers, rel=1e-3)
    assert parts.optimizer == 8 * numbers
    assert found.artifact_bytes == 4 * numbers


def test_four_bits_take_four_and_an_eighth(tmp_path: Path) -> None:
    architecture = find_architecture("llama-3.1-8b", cache=tmp_path)
    machine = find_machine("h100")
    quantised, plain = (
        plan(architecture, method, machine, settings=SMALL) for method in ("qlora", "lora")
    )
    saved = plain.memory.weights - quantised.memory.weights - quantised.memory.quantisation
    assert saved == pytest.approx(architecture.linear_parameters * (2 - 4.13 / 8), rel=1e-3)
    constants = architecture.linear_parameters / 64 * (1 + 4 / 256)
    assert quantised.memory.quantisation == pytest.approx(constants, rel=0.01)


def test_a_cpu_of_one_thread_holds_one_of_two_batches(tmp_path: Path) -> None:
    architecture = find_architecture("smollm2-135m", cache=tmp_path)
    settings = {"max_length": "128", "batch_tokens": "2048"}
    card = find_machine("cpu-avx2").device

    def sizes(method: str, threads: int) -> Any:
        device = card.model_copy(update={"threads": threads})
        return size_run(architecture, method, Machine(name="x", device=device, count=1), settings)

    one, several = sizes("lora", 1), sizes("lora", 4)
    assert one.trace.tokens * 2 == several.trace.tokens
    assert one.trace.peak.activations < 0.6 * several.trace.peak.activations
    assert sizes("full", 1).trace.tokens == sizes("full", 4).trace.tokens


def test_what_does_not_fit_says_what_would(tmp_path: Path) -> None:
    architecture = find_architecture("llama-3.1-70b", cache=tmp_path)
    found = plan(architecture, "lora", find_machine("h100"), settings=SMALL)
    assert (found.fits, found.largest_batch_tokens) == (False, None)
    told = " ".join(found.notes)
    assert "QLoRA would hold the base in 102 GB less" in told
    assert "It would fit on" in told
    named = told.partition("It would fit on ")[2].split(" ")[0]
    assert plan(architecture, "lora", find_machine(named), settings=SMALL).fits


def test_the_largest_batch_is_the_last_that_fits(tmp_path: Path) -> None:
    machine = find_machine("t4")
    sizes = size_run(
        find_architecture("smollm2-1.7b", cache=tmp_path), "lora", machine, {"max_length": "256"}
    )
    largest = sizes.largest(machine)
    assert largest is not None
    room = machine.device.memory_bytes
    assert sizes.memory(largest, machine).total <= room < sizes.memory(largest + 33, machine).total


def test_a_trace_of_more_tokens_lies_on_the_line(tmp_path: Path) -> None:
    architecture, machine = find_architecture("smollm2-135m", cache=tmp_path), find_machine("l4")
    sizes = size_run(architecture, "lora", machine, {"max_length": "128", "batch_tokens": "512"})
    whole = size_run(architecture, "lora", machine, {"max_length": "128", "batch_tokens": "1024"})
    assert sizes.trace.tokens == 512
    assert sizes.held(1024).logits == whole.trace.peak.logits
    assert sizes.held(1024).total == pytest.approx(whole.trace.peak.total, rel=0.03)


def test_unknown_methods_and_settings_are_refused(tmp_path: Path) -> None:
    architecture, machine = find_architecture("smollm2-135m", cache=tmp_path), find_machine("l4")
    with pytest.raises(UnknownName, match="prefix"):
        plan(architecture, "soft", machine)
    with pytest.raises(InvalidInput, match="rank is not a setting"):
        plan(architecture, "lora", machine, settings={"rank": "8"})


def test_time_is_the_longer_of_products_and_bytes() -> None:
    gpu = find_machine("h100").device.model_copy(update={"efficiency": 1.0})
    cpu = gpu.model_copy(update={"kind": "cpu"})
    products = Operation(flops=10**15, bytes=1, dtype="bfloat16")
    stream = Operation(flops=1, bytes=10**12, dtype="bfloat16")
    tiny = Operation(flops=0, bytes=1, dtype="bfloat16")
    assert work_seconds({products: 1}, gpu) == pytest.approx(10**15 / 989e12)
    assert work_seconds({stream: 2}, gpu) == pytest.approx(2 * 10**12 / 3350e9)
    assert work_seconds({tiny: 3}, gpu) == pytest.approx(3 * gpu.operation_seconds)
    assert work_seconds({products: 1}, cpu) == pytest.approx(10**15 / 989e12 + 1e-5)


def test_the_fitted_efficiency_gives_the_measured_time() -> None:
    card = find_machine("cpu-avx2").device
    work = [{Operation(flops=10**10, bytes=10**6, dtype="float32"): 7.0}]
    slower = card.model_copy(update={"efficiency": 0.31})
    measured = work_seconds(work[0], slower)
    assert fitted_efficiency(card, work, measured) == pytest.approx(0.31, rel=1e-3)


def test_devices_share_an_epoch(tmp_path: Path) -> None:
    device = find_machine("h100").device.model_copy(update={"interconnect": None})
    architecture = find_architecture("smollm2-135m", cache=tmp_path)
    one = Machine(name="one", device=device, count=1)
    four = Machine(name="four", device=device, count=4)
    sizes = size_run(architecture, "lora", one, SMALL)

    def seconds(machine: Machine) -> float:
        return epoch_seconds(sizes.trace, sizes.fixed, machine, tokens=64_000, batch_tokens=256)

    assert step_seconds(sizes.fixed, four) == pytest.approx(step_seconds(sizes.fixed, one) / 4)
    assert seconds(four) == pytest.approx(seconds(one) / 4)


@pytest.mark.slow
def test_every_cell_of_the_published_table_is_judged(tmp_path: Path) -> None:
    table = claims_table(cache=tmp_path)
    cells = {(cell.metric, cell.method): cell for cell in table.cells}
    assert len(cells) == len(table.cells) == 15
    lora = cells["trainable parameters", "lora"]
    assert lora.ours == pytest.approx(103.55, abs=0.01)
    assert "16.4 million on q and v" in lora.reason
    assert {cells["GPU memory", method].judgement for method in ("lora", "full", "qlora")} == {
        "impossible"
    }
    assert "141 GB" in cells["GPU memory", "lora"].reason
    full = cells["GPU memory", "full"].ours
    assert full is not None
    assert full > 16 * table.total_parameters / 1e9
    times = [cells["time of an epoch", method].ours or 0 for method in ("lora", "full")]
    assert 0.55 < times[0] / times[1] < 0.8
    assert cells["relative performance", "lora"].ours is None
    assert all(cell.reason for cell in table.cells)


def test_shipped_cards_hold_the_smallest_model(tmp_path: Path) -> None:
    architecture = find_architecture("smollm2-135m", cache=tmp_path)
    sizes = size_run(architecture, "lora", find_machine("t4"), SMALL)
    for name in hardware_names():
        machine = find_machine(name)
        memory = sizes.memory(64, machine)
        assert memory.total < machine.device.memory_bytes
        assert dataclasses.asdict(memory)["overhead"] > 0
