"""Loss on answers, without ever holding the logits of a whole batch.

The full block of logits is T x V: 2,048 tokens of a 49,152-word vocabulary are 400 MB in float32,
and as much again for their gradient. Here the last hidden states are taken once, at the positions
that carry loss, and pushed through the head a chunk at a time, forward and backward, so that one
chunk's logits are alive at once. Gradients add up in a leaf of shape [L, D], from which one
backward pass through the model follows. The result is the sum over positions of the same
cross-entropy that transformers computes; nothing is approximated.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from copydesk.models._attention import SegmentPrefix
from copydesk.models._pack import Packed
from copydesk.models._states import answer_states
from copydesk.models._tuned import Tuned

CHUNK = 256
"""Positions whose logits are held at once: 50 MB in float32 for a vocabulary of 49,152."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleLoss:
    """An example's summed loss in nats and the tokens it was summed over."""

    loss: float
    tokens: int


def backward_loss(tuned: Tuned, packed: Packed, *, divisor: int) -> float:
    """Add the gradient of `sum of answer losses / divisor` to the trainable parameters.

    Args:
        tuned: a base, loaded with this room's attention, under a method.
        packed: on the model's device.
        divisor: answer tokens of the whole optimiser step, so that unequal micro-batches add up to
            the gradient of the step's mean.

    Returns:
        The summed loss, in nats, not divided.
    """
    hidden_LD = answer_states(tuned, packed)
    leaf_LD = hidden_LD.detach().requires_grad_()
    total = torch.zeros((), device=leaf_LD.device, dtype=torch.float32)
    for start in range(0, packed.targets, CHUNK):
        loss = functional.cross_entropy(
            _logits(tuned.model, leaf_LD[start : start + CHUNK]),
            packed.targets_L[start : start + CHUNK],
            reduction="sum",
        )
        (loss / divisor).backward()
        total += loss.detach()
    assert leaf_LD.grad is not None
    hidden_LD.backward(leaf_LD.grad)
    return float(total)


@torch.no_grad()
def answer_losses(
    tuned: Tuned, packed: Packed, *, prefix: SegmentPrefix | None = None
) -> list[ExampleLoss]:
    """Summed loss of each packed example, without gradients.

    Args:
        tuned: as for `backward_loss`.
        packed: on the model's device.
        prefix: states of earlier tokens that every example sees; see `prefix_states`.
    """
    hidden_LD = answer_states(tuned, packed, prefix)
    sums = torch.zeros(len(packed.lengths), dtype=torch.float64, device=hidden_LD.device)
    for start in range(0, packed.targets, CHUNK):
        losses = functional.cross_entropy(
            _logits(tuned.model, hidden_LD[start : start + CHUNK]),
            packed.targets_L[start : start + CHUNK],
            reduction="none",
        )
        sums.index_add_(0, packed.owners_L[start : start + CHUNK], losses.double())
    counts = torch.bincount(packed.owners_L, minlength=len(packed.lengths))
    return [
        ExampleLoss(loss=float(loss), tokens=int(count))
        for loss, count in zip(sums, counts, strict=True)
    ]


def _logits(model: PreTrainedModel, hidden_LD: torch.Tensor) -> torch.Tensor:
    """Float32 logits [L, V], scaled and capped as the family's own forward does it."""
    head: Any = model.get_output_embeddings()
    logits_LV: torch.Tensor = head(hidden_LD).float()
    config: Any = model.config.get_text_config()
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits_LV = logits_LV * scale
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        logits_LV = logits_LV / divisor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        logits_LV = cap * torch.tanh(logits_LV / cap)
    return logits_LV
