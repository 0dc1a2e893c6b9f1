"""Frozen RMS norms (Zhang and Sennrich 2019) by the compiled kernels, forward and backward.

A family's own norm makes seven tensors and keeps two in float32; here the input and a number a row
are kept. benchmarks/train_vs_trl.py times the whole loop.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from copydesk.models._kernels import norm_rows, norm_rows_backward

_EPSILONS = ("variance_epsilon", "eps")
"""What the families call the number that is added to the mean square."""


def use_lean_norms(model: nn.Module) -> None:
    """Give the model's frozen RMS norms the kernels' forward, where it computes what theirs does:
    tried on numbers, not taken on the name."""
    for module in model.modules():
        if not type(module).__name__.endswith("RMSNorm") or "forward" in vars(module):
            continue
        made: Any = module
        lean = _lean_forward(made)
        if lean is not None:
            made.forward, made.has_lean_forward = lean, True


def _lean_forward(norm: Any) -> Callable[[torch.Tensor], torch.Tensor] | None:
    epsilon = next((value for name in _EPSILONS if (value := getattr(norm, name, None))), None)
    weight = getattr(norm, "weight", None)
    if epsilon is None or weight is None or weight.dtype != torch.bfloat16:
        return None
    twin = copy.deepcopy(norm).to_empty(device="cpu")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        twin.weight.normal_()
        x_RD = torch.randn(8, len(weight)).bfloat16()
        expected = twin(x_RD)
        for plus_one in (False, True):
            found, _ = norm_rows(x_RD, twin.weight, plus_one, epsilon)
            if torch.allclose(found.float(), expected.float(), rtol=1e-2, atol=1e-3):
                return _forward_of(norm, plus_one, epsilon)
    return None


def _forward_of(
    norm: Any, plus_one: bool, epsilon: float
) -> Callable[[torch.Tensor], torch.Tensor]:
    usual = type(norm).forward.__get__(norm)

    def forward(x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.bfloat16 or norm.weight.requires_grad:
            return usual(x)
        y_RD: Any = _Norm.apply(x.reshape(-1, x.shape[-1]), norm.weight, plus_one, epsilon)
        return y_RD.view(x.shape)

    return forward


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_RD: torch.Tensor, weight_D: torch.Tensor, plus_one: bool, epsilon: float
    ) -> torch.Tensor:
        x_RD = x_RD.contiguous()
        y_RD, scales_R = norm_rows(x_RD, weight_D, plus_one, epsilon)
        ctx.save_for_backward(x_RD, weight_D, scales_R)
        ctx.plus_one = plus_one
        return y_RD

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_RD, weight_D, scales_R = ctx.saved_tensors
        gy_RD = grad_outputs[0].contiguous()
        return norm_rows_backward(x_RD, weight_D, ctx.plus_one, scales_R, gy_RD), None, None, None
