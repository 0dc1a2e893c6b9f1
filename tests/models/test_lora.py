"""The lean LoRA functions against PEFT's own forward, in every family and in odd orders of call."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from conftest import FAMILIES, write_tiny_base
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from copydesk.models._lora import Routing, Span, use_lean_lora
from copydesk.models._quantise import choose_layout

FOUR_BITS = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
)


def lora_model(
    folder: Path, *, lean: bool, targets: Any = "all-linear", four_bits: bool = False
) -> Any:
    how: dict[str, Any] = {"quantization_config": FOUR_BITS} if four_bits else {}
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **how)
    choose_layout(plain, trained=True)
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
    # In float64, so that no processor's rounding stands between the two.
    theirs = lora_model(folder, lean=False, targets=targets).double()
    ours = lora_model(folder, lean=True, targets=targets).double()
    for model in (theirs, ours):
        model(input_ids=ids, labels=ids).loss.backward()
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(
                parameter.grad, reference[name].grad, rtol=1e-4, atol=1e-6, msg=name
            )
    torch.testing.assert_close(ours(input_ids=ids).logits, theirs(input_ids=ids).logits)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj", "up_proj", "down_proj"]])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_on_four_bits_every_family_equals_peft(tmp_path: Path, family: str, targets: Any) -> None:
    folder = write_tiny_base(tmp_path / "base", family)
    ids = torch.arange(60)[None]
    theirs = lora_model(folder, lean=False, targets=targets, four_bits=True)
    ours = lora_model(folder, lean=True, targets=targets, four_bits=True)
    losses = [model(input_ids=ids, labels=ids).loss for model in (theirs, ours)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            wanted = reference[name].grad
            assert (parameter.grad - wanted).norm() <= 1e-4 * wanted.norm(), name


def test_a_layout_without_a_backward_pass_keeps_pefts_forward(tiny_base: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, quantization_config=FOUR_BITS)
    model = get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    layers = [module for module in model.modules() if type(module) is Linear4bit]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = True
    assert use_lean_lora(model) == 0
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    assert use_lean_lora(model) == 2


@pytest.mark.parametrize("four_bits", [False, True])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_gated_mlp_is_one_function_and_keeps_less(
    tmp_path: Path, family: str, four_bits: bool
) -> None:
    folder = write_tiny_base(tmp_path / "base", family)

    def kept(lean: bool) -> int:
        model = lora_model(folder, lean=lean, four_bits=four_bits)
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


def dropout_model(folder: Path, routing: Routing) -> Any:
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(
        plain,
        LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.3, target_modules="all-linear"),
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    use_lean_lora(model, routing)
    return model.train()


def test_dropout_is_the_examples_own_and_its_gradient_is_exact(tiny_base: Path) -> None:
    routing = Routing()
    layer = dropout_model(tiny_base, routing).base_model.model.model.layers[0].mlp.down_proj
    x = torch.randn(9, 96, dtype=torch.float32, requires_grad=True)

    def run(*parts: tuple[int, int]) -> torch.Tensor:
        span = Span(
            adapter="default",
            lengths=tuple(length for length, _ in parts),
            seeds=tuple(seed for _, seed in parts),
        )
        rows = sum(length for length, _ in parts)
        with routing.over([span]):
            return layer(x[:rows])

    with torch.no_grad():
        both = run((5, 11), (4, 12))
        torch.testing.assert_close(both[:5], run((5, 11)), msg="whatever it is packed with")
        assert not torch.allclose(both[:5], run((5, 13))), "another seed, another mask"
        many = torch.stack([run((9, seed)) for seed in range(3000)])
        layer.eval()
        still = run((9, 0))
        layer.train()
        error = (many.mean(0) - still).abs() / many.std(0).clamp_min(1e-6) * 3000**0.5
        assert error.max() < 5, "the mean over masks is the product without dropout"

    # The same function written out for autograd, with the mask read off the function itself:
    # the product is linear in the masked x, so the rows of B A applied to it tell the mask.
    eye = torch.eye(96)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        layer.lora_A["default"].weight.data, kept_a = torch.ones(1, 96), a.data
        layer.lora_B["default"].weight.data, kept_b = torch.ones(64, 1), b.data
        scale = layer.scaling["default"]
        mask = torch.empty(9, 96)
        kept_x = x.data.clone()
        for column in range(96):
            x.data = eye[column].expand(9, 96).contiguous()
            low = run((5, 11), (4, 12)) - functional.linear(x, layer.base_layer.weight)
            mask[:, column] = low[:, 0] / scale
        x.data = kept_x
        layer.lora_A["default"].weight.data = kept_a
        layer.lora_B["default"].weight.data = kept_b
    for value in mask.unique().tolist():
        assert value == pytest.approx(0, abs=1e-5) or value == pytest.approx(1 / 0.7, rel=1e-4)
    weights = torch.randn(9, 64)
    (run((5, 11), (4, 12)) * weights).sum().backward()
    found = [x.grad, a.grad, b.grad]
    x.grad = a.grad = b.grad = None
    low_TR = functional.linear(x * mask, a)
    y = functional.linear(x, layer.base_layer.weight) + scale * functional.linear(low_TR, b)
    (y * weights).sum().backward()
    for ours, theirs in zip(found, [x.grad, a.grad, b.grad], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_dropout_that_nobody_routes_follows_the_global_seed(tiny_base: Path) -> None:
    model = dropout_model(tiny_base, Routing())
    ids = torch.arange(60)[None]

    def loss(seed: int) -> float:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return model(input_ids=ids, labels=ids).loss.item()

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)
