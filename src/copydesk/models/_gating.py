"""Gated activations, forward and backward: activation(gate) * up.

Letters: T rows, I the MLP's inner width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from copydesk.models._kernels import GELU_TANH, SILU, gate_rows, gate_rows_backward


@dataclass(frozen=True, slots=True)
class Activation:
    """A gated MLP's activation and its derivative, by torch or by a kernel."""

    forward: Callable[[torch.Tensor], torch.Tensor]
    backward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """Gradient of the output and the input -> gradient of the input."""
    kind: int | None = None
    """Its number among the kernels'."""

    def gated(
        self, gate_TI: torch.Tensor, up_TI: torch.Tensor, compiled: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """activation(gate) * up, and activation(gate) where torch made it on the way."""
        if compiled and self.kind is not None:
            return gate_rows(gate_TI, up_TI, self.kind), None
        active_TI = self.forward(gate_TI)
        return active_TI * up_TI, active_TI

    def gated_backward(
        self,
        ginner_TI: torch.Tensor,
        gate_TI: torch.Tensor,
        up_TI: torch.Tensor,
        active_TI: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of gate and up, from that of their product, which is changed, and what
        `gated` gave."""
        if active_TI is None:
            assert self.kind is not None
            return gate_rows_backward(gate_TI, up_TI, ginner_TI, self.kind), ginner_TI
        gup_TI = active_TI.mul_(ginner_TI)
        return self.backward(ginner_TI.mul_(up_TI), gate_TI), gup_TI


def _gelu(approximate: str, kind: int | None = None) -> Activation:
    return Activation(
        lambda x: functional.gelu(x, approximate=approximate),
        lambda grad, x: torch.ops.aten.gelu_backward(grad, x, approximate=approximate),
        kind,
    )


ACTIVATIONS = (
    Activation(functional.silu, torch.ops.aten.silu_backward, SILU),
    _gelu("tanh", GELU_TANH),
    _gelu("none"),
)
