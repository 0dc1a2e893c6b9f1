"""Products with the base's frozen weights, held in the layout that multiplies fastest.

| held as | where | why |
|---|---|---|
| plain | anywhere | what torch does |
| packed | bfloat16 on a CPU that has it | oneDNN's own layout, made once and not at each product |
| int8 | a CPU | half the bytes: one text at a time is as fast as weights are read |
| int4 | a CPU | a quarter; groups of 32 with scale and zero, as in llama.cpp's Q4_1 |

A row's product does not depend, bit for bit, on how many rows are multiplied with it, where weights
are packed (tests/serve/test_linears.py).
"""

from typing import Any, Literal, Protocol

import torch
from torch.nn import functional

from copydesk.errors import InvalidInput

_GROUP = 32
_MANY = 24
"""Rows from which unpacking the weights for one ordinary product is faster."""


class Linear(Protocol):
    """x [R, D] to x W' [R, O]."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor: ...

    def add(self, x: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
        """The product and `to`."""
        ...


class PlainLinear:
    """Weights as torch holds them."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight)

    def add(self, x: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
        return torch.addmm(to, x, self.weight.T)


class PackedLinear:
    """bfloat16 weights in oneDNN's layout."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
        self._linear: Any = torch.ops.mkldnn._linear_pointwise.default
        self._binary: Any = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._linear(x, self._packed, None, "none", [], "")

    def add(self, x: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
        return self._binary(x, to, self._packed, None, "add")


class Int8Linear:
    """Weights in 8 bits, a scale for each output, times bfloat16 or float32."""

    def __init__(self, weight: torch.Tensor) -> None:
        peak = weight.float().abs().amax(1, keepdim=True).clamp_min_(1e-12)
        self._scale = (peak / 127).flatten().to(weight.dtype)
        rounded = (weight.float() / self._scale.float()[:, None]).round_()
        self._weight = rounded.clamp_(-127, 127).to(torch.int8)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) >= _MANY:
            return functional.linear(x, self._weight.to(x.dtype)).mul_(self._scale)
        return torch.ops.aten._weight_int8pack_mm(x.contiguous(), self._weight, self._scale)

    def add(self, x: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
        return self(x).add_(to)


class Int4Linear:
    """Weights in 4 bits: w = scale * (q - 8) + zero in groups of 32 inputs."""

    def __init__(self, weight: torch.Tensor) -> None:
        groups = weight.float().unflatten(1, (-1, _GROUP))
        low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        # Rounded first, so that the numbers that are kept are nearest under what is kept of them.
        scale = ((high - low) / 15).clamp_min_(1e-12).to(weight.dtype).float()
        zero = (low + 8 * scale).to(weight.dtype).float()
        quants = ((groups - zero) / scale + 8).round_().clamp_(0, 15)
        scales = torch.cat([scale, zero], -1).to(weight.dtype)
        self._scales = scales.transpose(0, 1).contiguous()  # [D / 32, O, 2]
        whole = quants.flatten(1).to(torch.int32)
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1)
        self._halves = (whole[:, ::2] << 4 | whole[:, 1::2]).to(torch.uint8)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) >= _MANY:
            return functional.linear(x, self._unpacked(x.dtype))
        return torch.ops.aten._weight_int4pack_mm_for_cpu(
            x.contiguous(), self._packed, _GROUP, self._scales
        )

    def add(self, x: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
        return self(x).add_(to)

    def _unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        quants = torch.stack([self._halves >> 4, self._halves & 15], -1).flatten(1)
        groups = quants.to(dtype).sub_(8).unflatten(1, (-1, _GROUP))
        scale, zero = self._scales.transpose(0, 1)[..., None].unbind(2)
        return groups.mul_(scale).add_(zero).flatten(1)


def hold(weight: torch.Tensor, quantise: Literal["int8", "int4"] | None) -> Linear:
    """Weights [O, D] in the layout that suits the machine, or in fewer bits.

    Raises:
        InvalidInput: weights of this shape or on this device are not quantised.
    """
    on_cpu = weight.device.type == "cpu"
    if quantise is None:
        packs = on_cpu and weight.dtype == torch.bfloat16 and packs_bfloat16()
        return PackedLinear(weight) if packs else PlainLinear(weight)
    outputs, inputs = weight.shape
    if not on_cpu or inputs % _GROUP or outputs % 16 or weight.dtype == torch.float16:
        raise InvalidInput(
            f"A layer of {outputs} x {inputs} on {weight.device.type} cannot be held as {quantise}",
            where="quantise",
            todo="Leave quantise out.",
        )
    return Int8Linear(weight) if quantise == "int8" else Int4Linear(weight)


def packs_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 on this processor."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
