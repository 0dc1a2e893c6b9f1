"""A leaner forward and backward for LoRA on a frozen linear layer.

    y = x W' + b + s (x A') B'

PEFT's own forward makes two extra tensors as large as the output (the scaled product and the sum)
and keeps what autograd needs for each step. Here the low-rank product is added in place, and only
x, and x A' of width R, are kept for the backward pass. benchmarks/train_vs_trl.py times the whole
loop. Parameters stay PEFT's, so saving and loading do not know of it.
"""

from typing import Any

import torch
from peft import tuners
from torch import nn
from torch.nn import functional


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a_RD: torch.Tensor,
        b_DR: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        x_TD = x.reshape(-1, x.shape[-1])
        a, b = a_RD.to(x.dtype), b_DR.to(x.dtype)
        low_TR = x_TD @ a.T
        y_TD = functional.linear(x_TD, weight, bias)
        y_TD.addmm_(low_TR, b.T, alpha=scale)
        ctx.save_for_backward(x_TD, weight, a_RD, b_DR, low_TR)
        ctx.scale = scale
        return y_TD.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gy,) = grad_outputs
        x_TD, weight, a_RD, b_DR, low_TR = ctx.saved_tensors
        gy_TD = gy.reshape(-1, gy.shape[-1])
        glow_TR = (gy_TD @ b_DR.to(gy.dtype)).mul_(ctx.scale)
        gx = None
        if ctx.needs_input_grad[0]:
            gx = gy_TD @ weight
            gx.addmm_(glow_TR, a_RD.to(gy.dtype))
            gx = gx.view(*gy.shape[:-1], -1)
        ga_RD = (glow_TR.T @ x_TD).to(a_RD.dtype)
        gb_DR = (gy_TD.T @ low_TR).mul_(ctx.scale).to(b_DR.dtype)
        return gx, None, None, ga_RD, gb_DR, None


def use_lean_lora(model: nn.Module) -> int:
    """Give every plain LoRA layer over a frozen linear the lean forward; returns how many.

    Layers with dropout, DoRA, several adapters or a quantised weight keep PEFT's forward.
    """
    changed = 0
    for module in model.modules():
        if isinstance(module, tuners.lora.Linear) and _is_plain(module):
            module.forward = _lean_forward(module)
            changed += 1
    return changed


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


def _lean_forward(layer: Any) -> Any:
    """The replacement for `layer.forward`; parameters are looked up at every call."""

    def forward(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        name = layer.active_adapters[0]
        base = layer.base_layer
        if layer.disable_adapters or layer.merged:
            return base(x)
        return _LoraProduct.apply(  # pyright: ignore[reportReturnType]
            x,
            base.weight,
            base.bias,
            layer.lora_A[name].weight,
            layer.lora_B[name].weight,
            layer.scaling[name],
        )

    return forward
