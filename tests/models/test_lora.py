"""The lean LoRA functions against PEFT's own forward, in every family and in odd orders of call."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES, write_tiny_base
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from copydesk.models._lora import use_lean_lora


def lora_model(folder: Path, *, lean: bool, targets: Any = "all-linear") -> Any:
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(
        plain, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets)
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    if lean:
        assert use_lean_lora(model) > 0
    return model


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj", "up_proj", "down_proj"]])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_equals_peft(tmp_path: Path, family: str, targets: Any) -> None:
    folder = write_tiny_base(tmp_path / "base", family)
    ids = torch.arange(60)[None]
    theirs = lora_model(folder, lean=False, targets=targets)
    ours = lora_model(folder, lean=True, targets=targets)
    for model in (theirs, ours):
        model(input_ids=ids, labels=ids).loss.backward()
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(
                parameter.grad, reference[name].grad, rtol=1e-4, atol=1e-6, msg=name
            )
    torch.testing.assert_close(ours(input_ids=ids).logits, theirs(input_ids=ids).logits)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_gated_mlp_is_one_function_and_keeps_less(tmp_path: Path, family: str) -> None:
    folder = write_tiny_base(tmp_path / "base", family)

    def kept(lean: bool) -> int:
        model = lora_model(folder, lean=lean)
        mlp = next(module for name, module in model.named_modules() if name.endswith("mlp"))
        sizes: list[int] = []
        frozen = {parameter.data_ptr() for parameter in model.parameters()}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in frozen:
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            mlp(torch.randn(1, 500, 64, requires_grad=True))
        return sum(sizes)

    assert kept(lean=True) < 0.6 * kept(lean=False)


def test_layers_that_share_an_input_may_be_called_in_any_order(tiny_base: Path) -> None:
    ours, theirs = (lora_model(tiny_base, lean=lean) for lean in (True, False))
    layer, reference = (
        model.base_model.model.model.layers[0].self_attn for model in (ours, theirs)
    )
    x, other = torch.randn(2, 5, 64), torch.randn(2, 5, 64)
    calls = [("v_proj", x), ("q_proj", other), ("v_proj", other), ("v_proj", other), ("k_proj", x)]
    with torch.no_grad():
        for name, given in calls:
            torch.testing.assert_close(getattr(layer, name)(given), getattr(reference, name)(given))
        layer.q_proj(x)
        x.mul_(2)  # the same tensor, another content
        torch.testing.assert_close(layer.k_proj(x), reference.k_proj(x))


def test_an_adapter_that_is_off_gives_the_base(tiny_base: Path) -> None:
    ids = torch.arange(60)[None]
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    ours = lora_model(tiny_base, lean=True)
    with torch.no_grad():
        assert not torch.allclose(ours(input_ids=ids).logits, plain(input_ids=ids).logits)
        with ours.disable_adapter():
            assert torch.equal(ours(input_ids=ids).logits, plain(input_ids=ids).logits)


def test_dropout_keeps_pefts_forward(tiny_base: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    model = get_peft_model(
        plain,
        LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.5, target_modules="all-linear"),
    )
    assert use_lean_lora(model) == 0
