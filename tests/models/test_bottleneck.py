"""Bottleneck adapters against the formula, written out around plain transformers' blocks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_base
from references import (
    disturb,
    packed_base,
    plain_model,
    reference_loss,
    some_examples,
    tiny,
)
from safetensors.torch import load_file, save_file
from torch import nn

from copydesk.errors import Damaged, InvalidInput, WrongBase
from copydesk.models import (
    BottleneckSettings,
    Tuned,
    backward_loss,
    find_method,
    load_adapter,
    pack,
)

FUNCTIONS = {
    "relu": lambda x: x.clamp_min(0),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "silu": lambda x: x * torch.sigmoid(x),
    "tanh": torch.tanh,
}


class Written(nn.Module):
    """A block and the formula of its adapter."""

    def __init__(self, block: nn.Module, weights: Mapping[str, torch.Tensor], name: str) -> None:
        super().__init__()
        self.block = block
        self.own = nn.ParameterDict(
            {part.replace(".", "_"): nn.Parameter(value) for part, value in weights.items()}
        )
        self.function = FUNCTIONS[name]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.block(*args, **kwargs)
        z = output[0] if isinstance(output, tuple) else output
        low = self.function(z @ self.own["down_weight"].T + self.own["down_bias"])
        z = z + low @ self.own["up_weight"].T + self.own["up_bias"]
        return (z, *output[1:]) if isinstance(output, tuple) else z


def prepared(folder: Path, **settings: Any) -> Tuned:
    own = BottleneckSettings(reduction_factor=8, **settings)
    return find_method("bottleneck").prepare(packed_base(folder), own, 3)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
@pytest.mark.parametrize(
    ("placement", "non_linearity"),
    [("pfeiffer", "relu"), ("houlsby", "gelu"), ("houlsby", "silu"), ("pfeiffer", "tanh")],
)
def test_loss_and_gradients_equal_the_written_formula(
    tmp_path: Path, family: str, placement: Any, non_linearity: Any
) -> None:
    folder = write_tiny_base(tmp_path / "base", family)
    tuned = prepared(folder, placement=placement, non_linearity=non_linearity)
    disturb(tuned)
    plain = plain_model(folder)
    blocks = ("mlp",) if placement == "pfeiffer" else ("self_attn", "mlp")
    written: dict[str, Written] = {}
    for number, layer in enumerate(plain.model.layers):
        for block in blocks:
            name = f"layers.{number}.{block}.bottleneck"
            weights = {
                key.removeprefix(f"{name}."): value.detach().clone()
                for key, value in tuned.parameters.items()
                if key.startswith(f"{name}.")
            }
            written[name] = Written(getattr(layer, block), weights, non_linearity)
            setattr(layer, block, written[name])
    assert len(tuned.parameters) == 4 * len(written)
    examples = some_examples(tuned.base)
    targets = sum(example.answer_length for example in examples)
    total = backward_loss(tuned, pack(examples), divisor=targets)
    expected = torch.stack([reference_loss(plain, item) for item in examples]).sum() / targets
    expected.backward()
    assert total / targets == pytest.approx(expected.item(), rel=1e-5)
    for key, parameter in tuned.parameters.items():
        name, _, part = key.partition(".bottleneck.")
        wanted = written[f"{name}.bottleneck"].own[part.replace(".", "_")].grad
        error = (parameter.grad - wanted).norm() / wanted.norm().clamp_min(1e-12)
        assert float(error) < 1e-4, f"{key}: {float(error):.1e}"


def test_the_folder_states_what_it_holds(tiny_base: Path, tmp_path: Path) -> None:
    tuned = prepared(tiny_base, placement="houlsby")
    find_method("bottleneck").save(tuned, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text()) == {
        "adapter_type": "copydesk_bottleneck",
        "format_version": 1,
        "base_model_name_or_path": "tiny",
        "base_digest": tuned.base.info.digest,
        "placement": "houlsby",
        "reduction_factor": 8,
        "non_linearity": "relu",
        "hidden_size": 64,
        "bottleneck_size": 8,
        "num_layers": 2,
    }
    shapes = {name: tuple(t.shape) for name, t in load_file(tmp_path / WEIGHTS).items()}
    assert len(shapes) == 2 * 2 * 4
    assert shapes["layers.1.self_attn.bottleneck.down.weight"] == (8, 64)


WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"base_digest": "0" * 64}, WrongBase),
        ({"format_version": 2}, Damaged),
        ({"hidden_size": 32}, Damaged),
        ({"num_layers": 3}, Damaged),
        ({"bottleneck_size": 4}, Damaged),
        ({"placement": "houlsby"}, Damaged),
        ({"non_linearity": "sine"}, Damaged),
        ({"adapter_type": "someone_elses"}, Damaged),
        ({"surprise": 1}, Damaged),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tiny_base: Path, tmp_path: Path, change: Mapping[str, Any], error: type[Exception]
) -> None:
    find_method("bottleneck").save(prepared(tiny_base), tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    base = tiny(tiny_base)
    with pytest.raises(error):
        load_adapter(base, tmp_path, bound_to=base.info.digest)


def test_tensors_of_another_number_format_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    find_method("bottleneck").save(prepared(tiny_base), tmp_path)
    tensors = {name: tensor.half() for name, tensor in load_file(tmp_path / WEIGHTS).items()}
    save_file(tensors, tmp_path / WEIGHTS)
    base = tiny(tiny_base)
    with pytest.raises(Damaged, match="not float32"):
        load_adapter(base, tmp_path, bound_to=base.info.digest)


def test_a_base_without_known_blocks_is_refused(tiny_base: Path) -> None:
    base = packed_base(tiny_base)
    trunk: Any = base.model.base_model
    for layer in trunk.layers:
        layer.register_module("mixer", layer.mlp)
        del layer.mlp
    with pytest.raises(InvalidInput, match="none of the blocks mlp"):
        find_method("bottleneck").prepare(base, BottleneckSettings(), 0)
