"""What stands in the way of serving an adapter, and whether merging changes what it says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training import prepared, run_loop

from copydesk.errors import WrongBase
from copydesk.models import (
    BaseStore,
    adapter_faults,
    dead_weights,
    find_method,
    finite_logits,
    load_adapter,
    load_base,
    merge_difference,
    weights_finite,
)

CPU = torch.device("cpu")
METHODS = ("lora", "dora", "qlora", "prefix", "prompt", "bottleneck")
TEXTS = [list(range(40)), list(range(30, 90))]


@pytest.fixture(scope="module")
def adapters(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short run by each of a few methods."""
    found: dict[str, Path] = {}
    for method in METHODS:
        folder = tmp_path_factory.mktemp(method)
        # A rate that leaves more than rounding to be compared.
        tuned, run = prepared(tiny_base, method, max_steps=3, learning_rate=0.05)
        run_loop(tuned, run, folder / "run")
        (folder / "made").mkdir()
        find_method(method).save(tuned, folder / "made")
        found[method] = folder / "made"
    return found


def apart(adapters: dict[str, Path], tiny_base: Path, method: str, bound_to: str = "") -> float:
    info = BaseStore(tiny_base).find(str(tiny_base))
    chosen = find_method(method)
    return merge_difference(
        info,
        adapters[method],
        bound_to=bound_to or info.digest,
        quantisation=chosen.quantisation(chosen.settings()),
        dtype=torch.float32,
        texts=TEXTS,
    )


@pytest.mark.parametrize("method", ["lora", "dora", "qlora"])
def test_merging_moves_logits_by_rounding_alone(
    adapters: dict[str, Path], tiny_base: Path, method: str
) -> None:
    assert 0 < apart(adapters, tiny_base, method) < 1e-5


def test_a_merge_that_is_not_the_adapter_is_seen(
    adapters: dict[str, Path], tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A merge that forgets the adapter: the base comes back.
    monkeypatch.setattr("copydesk.models._servable.merge", lambda tuned: tuned.peft.unload())
    assert apart(adapters, tiny_base, "lora") > 1e-3


def test_an_adapter_of_another_base_is_not_merged(
    adapters: dict[str, Path], tiny_base: Path
) -> None:
    with pytest.raises(WrongBase):
        apart(adapters, tiny_base, "lora", bound_to="0" * 64)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_trained_adapter_has_no_faults(adapters: dict[str, Path], method: str) -> None:
    assert adapter_faults(adapters[method], max_lora_rank=16) == ()


def changed(source: Path, folder: Path, change: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
    tensors = load_file(source / "adapter_model.safetensors")
    save_file(change(tensors), folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_each_zeroed_tensor_is_found(
    adapters: dict[str, Path], tmp_path: Path, method: str
) -> None:
    names = list(load_file(adapters[method] / "adapter_model.safetensors"))
    assert len(names) == 1 if method in ("prefix", "prompt") else len(names) >= 8
    for name in names:
        folder = changed(
            adapters[method],
            tmp_path / "zeroed",
            lambda tensors, name=name: {**tensors, name: torch.zeros_like(tensors[name])},
        )
        (fault,) = adapter_faults(folder, max_lora_rank=64)
        assert name in fault and "zeros" in fault


def test_each_wiped_part_of_a_prefix_or_prompt_is_found(
    adapters: dict[str, Path], tmp_path: Path
) -> None:
    def wiped(method: str, rows: slice, columns: slice) -> tuple[str, ...]:
        def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            states = tensors["prompt_embeddings"].clone()
            states[rows, columns] = 0
            return {"prompt_embeddings": states}

        folder = changed(adapters[method], tmp_path / "wiped", change)
        return adapter_faults(folder, max_lora_rank=64)

    every, width = slice(None), 2 * 16  # two key heads of 16
    for part, said in enumerate(
        ("keys of layer 0", "values of layer 0", "keys of layer 1", "values of layer 1")
    ):
        (fault,) = wiped("prefix", every, slice(part * width, (part + 1) * width))
        assert f"the {said} hold nothing but zeros" in fault
    for method in ("prefix", "prompt"):
        (fault,) = wiped(method, slice(2, 3), every)
        assert "virtual token 2 holds nothing but zeros" in fault
    assert wiped("prefix", slice(0, 0), every) == ()


def test_a_wiped_matrix_of_a_full_copy_is_found(tiny_base: Path) -> None:
    info = BaseStore(tiny_base).find(str(tiny_base))
    base = load_base(info, device=CPU, dtype=torch.float32)
    assert dead_weights(base) == ()
    name = "model.layers.1.self_attn.k_proj.weight"
    base.model.get_parameter(name).data.zero_()
    assert dead_weights(base) == (name,)


def test_rank_and_missing_files_are_faults(adapters: dict[str, Path], tmp_path: Path) -> None:
    assert "rank 16 is over" in adapter_faults(adapters["lora"], max_lora_rank=15)[0]
    folder = changed(adapters["lora"], tmp_path / "pattern", lambda tensors: tensors)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["rank_pattern"] = {"q_proj": 128}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert "rank 128 is over" in adapter_faults(folder, max_lora_rank=64)[0]
    assert (
        "holds no tensor"
        in adapter_faults(
            changed(adapters["lora"], tmp_path / "none", lambda _: {}), max_lora_rank=64
        )[0]
    )
    (tmp_path / "empty").mkdir()
    assert "cannot be read" in adapter_faults(tmp_path / "empty", max_lora_rank=64)[0]


def test_numbers_that_are_none_are_seen(adapters: dict[str, Path], tiny_base: Path) -> None:
    info = BaseStore(tiny_base).find(str(tiny_base))
    base = load_base(info, device=CPU, dtype=torch.float32)
    tuned = load_adapter(base, adapters["prefix"], bound_to=info.digest)
    assert finite_logits(tuned, TEXTS) and weights_finite(base)
    next(base.model.parameters()).data[0, 0] = float("inf")
    assert not weights_finite(base)
    assert not finite_logits(tuned, [[0, 1, 2]])
