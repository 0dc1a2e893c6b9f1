"""A leaner forward and backward for LoRA on frozen linear layers.

    y = x W' + b + s (x A') B'

PEFT's own forward makes two extra tensors as large as the output (the scaled product and the sum)
and keeps what autograd needs for each step. Here the low-rank product is added in place, and only
x, and x A' of width R, are kept for the backward pass. Beyond that:

- Layers that read the same x (q, k, v; gate, up) are one function: one x A' for all their A, one
  gradient of x, summed in place.
- A gated MLP is one function. It keeps the gate's and the up projection's outputs and computes
  their product again, instead of keeping that product and the activation as well.
- Products with a side of width R are written in the layout that the matrix library runs fastest:
  with B' contiguous and grad' x as its transpose, they took a third to a half of the time.

benchmarks/train_vs_trl.py times the whole loop. Parameters stay PEFT's, so saving and loading do
not know of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import tuners
from torch import nn
from torch.nn import functional

_SHARED_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Children that read one input, as the Llama, Qwen, Gemma and Mistral families name them."""
_GATED = ("gate_proj", "up_proj", "down_proj")
_TENSORS = 4  # of a layer: weight, bias, A, B


@dataclass(frozen=True, slots=True)
class _Activation:
    forward: Callable[[torch.Tensor], torch.Tensor]
    backward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """Gradient of the output and the input -> gradient of the input."""


def _gelu(approximate: str) -> _Activation:
    return _Activation(
        lambda x: functional.gelu(x, approximate=approximate),
        lambda grad, x: torch.ops.aten.gelu_backward(grad, x, approximate=approximate),
    )


_ACTIVATIONS = (
    _Activation(functional.silu, torch.ops.aten.silu_backward),
    _gelu("tanh"),
    _gelu("none"),
)


def use_lean_lora(model: nn.Module) -> int:
    """Give plain LoRA layers over frozen linears the lean forward; returns how many.

    Layers with dropout, DoRA, several adapters or a quantised weight keep PEFT's forward.
    """
    lean: dict[str, Any] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, tuners.lora.Linear) and _is_plain(module)
    }
    for module in lean.values():
        module.forward = _lean_forward([module])
    for parent_name, parent in model.named_modules():
        children = {name: lean.get(f"{parent_name}.{name}") for name, _ in parent.named_children()}
        for names in _SHARED_INPUT:
            group = [children.get(name) for name in names]
            if all(group):
                _share_input(group)
        gated = [children.get(name) for name in _GATED]
        if all(gated):
            _use_lean_mlp(parent, gated)
    return len(lean)


def _is_plain(layer: Any) -> bool:
    if type(layer.base_layer) is not nn.Linear or len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    return (
        isinstance(layer.lora_dropout[name], nn.Identity)
        and not layer.use_dora.get(name, False)
        and not layer.lora_bias.get(name, False)
        and name not in layer.lora_embedding_A
    )


def _is_off(layer: Any) -> bool:
    return layer.disable_adapters or layer.merged


def _tensors(layers: Sequence[Any]) -> tuple[tuple[float, ...], list[torch.Tensor | None]]:
    """Scales and the flat list that the functions below take, looked up anew at every call."""
    scales: list[float] = []
    flat: list[torch.Tensor | None] = []
    for layer in layers:
        name = layer.active_adapters[0]
        base = layer.base_layer
        flat += [base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight]
        scales.append(layer.scaling[name])
    return tuple(scales), flat


def _lean_forward(layers: Sequence[Any]) -> Callable[..., torch.Tensor]:
    """The replacement for the forward of a layer by itself."""

    def forward(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        if _is_off(layers[0]):
            return layers[0].base_layer(x)
        scales, flat = _tensors(layers)
        (y,) = _LoraProducts.apply(x, scales, *flat)  # pyright: ignore[reportGeneralTypeIssues]
        return y

    return forward


def _share_input(layers: Sequence[Any]) -> None:
    """Let the first of the layers that is called with an x compute the outputs of all."""
    waiting: dict[int, torch.Tensor] = {}
    seen: list[tuple[torch.Tensor, int]] = []

    def forward_of(place: int) -> Callable[..., torch.Tensor]:
        def forward(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            # Tensors of inference mode do not say when they were changed in place.
            if x.is_inference() or any(map(_is_off, layers)):
                return _lean_forward([layers[place]])(x)
            same = bool(seen) and seen[0][0] is x and seen[0][1] == x._version
            if not same or place not in waiting:
                scales, flat = _tensors(layers)
                waiting.clear()
                waiting.update(enumerate(_LoraProducts.apply(x, scales, *flat)))  # pyright: ignore
                seen[:] = [(x, x._version)]
            y = waiting.pop(place)
            if not waiting:
                seen.clear()
            return y

        return forward

    for place, layer in enumerate(layers):
        layer.forward = forward_of(place)


def _use_lean_mlp(parent: Any, layers: Sequence[Any]) -> None:
    """Replace a gated MLP's forward, where it is one: tried on numbers, not taken on its name."""
    usual = parent.forward
    weight = layers[0].base_layer.weight
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x_TD = torch.randn(4, weight.shape[1]).to(weight)
    for activation in _ACTIVATIONS:

        def forward(x: torch.Tensor, activation: _Activation = activation) -> torch.Tensor:
            if any(map(_is_off, layers)):
                return usual(x)
            scales, flat = _tensors(layers)
            return _GatedMlp.apply(x, activation, scales, *flat)  # pyright: ignore

        with torch.no_grad():
            if torch.allclose(forward(x_TD), usual(x_TD), rtol=1e-4, atol=1e-6):
                parent.forward = forward
                return


class _LoraProducts(torch.autograd.Function):
    """x, scales, and weight, bias, A and B of each layer -> each layer's output."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scales: tuple[float, ...], *flat: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        x_TD = x.reshape(-1, x.shape[-1])
        outputs, low_TS = _outputs(x_TD, scales, flat)
        ctx.save_for_backward(x_TD, low_TS, *flat)
        ctx.scales = scales
        return tuple(y_TO.view(*x.shape[:-1], -1) for y_TO in outputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TD, low_TS, *flat = ctx.saved_tensors
        grads = [grad.reshape(-1, grad.shape[-1]) for grad in grad_outputs]
        gx_TD, gflat = _gradients(x_TD, low_TS, ctx.scales, flat, grads, ctx.needs_input_grad[0])
        gx = None if gx_TD is None else gx_TD.view(*grad_outputs[0].shape[:-1], -1)
        return gx, None, *gflat


class _GatedMlp(torch.autograd.Function):
    """down(activation(gate(x)) * up(x)); scales and tensors in the order gate, up, down."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        activation: _Activation,
        scales: tuple[float, ...],
        *flat: torch.Tensor | None,
    ) -> torch.Tensor:
        x_TD = x.reshape(-1, x.shape[-1])
        split = 2 * _TENSORS
        (gate_TI, up_TI), low_TS = _outputs(x_TD, scales[:2], flat[:split])
        inner_TI = activation.forward(gate_TI).mul_(up_TI)
        (y_TD,), low_TR = _outputs(inner_TI, scales[2:], flat[split:])
        ctx.save_for_backward(x_TD, gate_TI, up_TI, low_TS, low_TR, *flat)
        ctx.activation, ctx.scales = activation, scales
        return y_TD.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TD, gate_TI, up_TI, low_TS, low_TR, *flat = ctx.saved_tensors
        scales, split = ctx.scales, 2 * _TENSORS
        gy_TD = grad_outputs[0].reshape(-1, grad_outputs[0].shape[-1])
        active_TI = ctx.activation.forward(gate_TI)
        inner_TI = active_TI * up_TI
        ginner_TI, gdown = _gradients(inner_TI, low_TR, scales[2:], flat[split:], [gy_TD], True)
        del inner_TI
        assert ginner_TI is not None
        gup_TI = active_TI.mul_(ginner_TI)
        ggate_TI = ctx.activation.backward(ginner_TI.mul_(up_TI), gate_TI)
        gx_TD, gfirst = _gradients(
            x_TD, low_TS, scales[:2], flat[:split], [ggate_TI, gup_TI], ctx.needs_input_grad[0]
        )
        gx = None if gx_TD is None else gx_TD.view(*grad_outputs[0].shape[:-1], -1)
        return gx, None, None, *gfirst, *gdown


def _outputs(
    x_TD: torch.Tensor, scales: Sequence[float], flat: Sequence[Any]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The outputs of layers that read x, and x A' of all of them, [T, S], S the sum of ranks."""
    a_SD = torch.cat([a.to(x_TD.dtype) for a in flat[2::_TENSORS]])
    low_TS = x_TD @ a_SD.T
    ranks = [a.shape[0] for a in flat[2::_TENSORS]]
    outputs: list[torch.Tensor] = []
    for place, (scale, low_TR) in enumerate(zip(scales, low_TS.split(ranks, 1), strict=True)):
        weight, bias, _, b_OR = flat[place * _TENSORS : (place + 1) * _TENSORS]
        y_TO = functional.linear(x_TD, weight, bias)
        outputs.append(y_TO.addmm_(low_TR, b_OR.to(y_TO.dtype).T, alpha=scale))
    return outputs, low_TS


def _gradients(
    x_TD: torch.Tensor,
    low_TS: torch.Tensor,
    scales: Sequence[float],
    flat: Sequence[Any],
    grads: Sequence[torch.Tensor],
    wants_x: bool,
) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
    """Gradients of x and, in the order of `flat`, of each layer's tensors."""
    as_ = flat[2::_TENSORS]
    ranks = [a.shape[0] for a in as_]
    gx_TD: torch.Tensor | None = None
    glows: list[torch.Tensor] = []
    gbs: list[torch.Tensor] = []
    for place, (scale, low_TR) in enumerate(zip(scales, low_TS.split(ranks, 1), strict=True)):
        weight, _, _, b_OR = flat[place * _TENSORS : (place + 1) * _TENSORS]
        gy_TO = grads[place]
        b_RO = b_OR.to(gy_TO.dtype).T.contiguous()
        glows.append((gy_TO @ b_RO.T).mul_(scale))
        gbs.append((low_TR.T @ gy_TO).T.mul(scale).to(b_OR.dtype))
        if wants_x:
            gx_TD = gy_TO @ weight if gx_TD is None else gx_TD.addmm_(gy_TO, weight)
    glow_TS = torch.cat(glows, 1)
    if gx_TD is not None:
        gx_TD.addmm_(glow_TS, torch.cat([a.to(gx_TD.dtype) for a in as_]))
    gas = (glow_TS.T @ x_TD).split(ranks)
    gflat: list[torch.Tensor | None] = []
    for a, ga, gb in zip(as_, gas, gbs, strict=True):
        gflat += [None, None, ga.to(a.dtype), gb]
    return gx_TD, gflat
