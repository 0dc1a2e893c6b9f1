"""Frozen linear layers as LoRA's lean functions multiply by them: plain, or held in 4 bits.

Weights of 4 bits are dequantised whole for each product, forward and backward, and dropped after it
(Dettmers et al. 2023): one layer's weights are in memory at a time.
"""

from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from torch import nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Frozen:
    """y [T, O] = x [T, D] W' + b of a layer whose weight and bias are not trained."""

    layer: Any

    @property
    def width(self) -> int:
        """D."""
        return int(self.layer.in_features)

    def product(self, x_TD: torch.Tensor) -> torch.Tensor:
        """y, with its bias."""
        return functional.linear(x_TD, self._weight(x_TD), self.layer.bias)

    def back(self, gy_TO: torch.Tensor, to_TD: torch.Tensor | None) -> torch.Tensor:
        """The gradient of x, added in place to `to_TD` where it is given."""
        weight = self._weight(gy_TO)
        return gy_TO @ weight if to_TD is None else to_TD.addmm_(gy_TO, weight)

    def like_input(self, rows: int) -> torch.Tensor:
        """Random x [rows, D] on the layer's device, in the number format that it multiplies in."""
        weight = self.layer.weight
        dtype = self.layer.compute_dtype if isinstance(self.layer, Linear4bit) else weight.dtype
        return torch.randn(rows, self.width).to(device=weight.device, dtype=dtype)

    def _weight(self, like: torch.Tensor) -> torch.Tensor:
        weight: Any = self.layer.weight
        if not isinstance(self.layer, Linear4bit):
            return weight
        return dequantize_4bit(weight.data, weight.quant_state).to(like.dtype)


def can_freeze(layer: nn.Module) -> bool:
    """Whether a layer is one of these. A 4-bit layer must multiply in the number format that its
    weights were quantised from, and keep the layout that has a backward pass."""
    if type(layer) is nn.Linear:
        return True
    if type(layer) is not Linear4bit:
        return False
    state: Any = getattr(layer.weight, "quant_state", None)
    return (
        state is not None
        and layer.compute_dtype == state.dtype
        and not layer.support_avx512bf16_for_cpu
    )
