"""Loss on answers, without ever holding the logits of a whole batch.

The full block of logits is T x V: 2,048 tokens of a 49,152-word vocabulary are 400 MB in float32,
and as much again for their gradient. Here the last hidden states are taken once, at the positions
that carry loss, and pushed through the head a chunk at a time, forward and backward, so that one
chunk's logits are alive at once. Gradients add up in a leaf of shape [L, D], from which one
backward pass through the model follows. The result is the sum over positions of the same
cross-entropy that transformers computes; nothing is approximated.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from copydesk.models._attention import SegmentPrefix
from copydesk.models._kernels import losses, losses_backward
from copydesk.models._load import Base
from copydesk.models._lora import Span
from copydesk.models._pack import Packed
from copydesk.models._states import answer_states
from copydesk.models._tuned import Tuned


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleLoss:
    """An example's summed loss in nats and the tokens it was summed over."""

    loss: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Consecutive examples of a packed batch that are one run's, and go through its adapter."""

    adapter: str
    examples: int
    divisor: int
    """Answer tokens of the run's whole optimiser step, so that unequal micro-batches add up to the
    gradient of the step's mean."""
    seeds: tuple[int, ...] = ()
    """Of each example's dropout; none draws from the global stream."""


def backward_losses(tuned: Tuned, packed: Packed, shares: Sequence[Share]) -> list[float]:
    """Add the gradients of each share's `sum of answer losses / divisor` to its own parameters.

    Rows of different shares meet nowhere: what one holds, a NaN included, changes no other.

    Args:
        tuned: a base, loaded with this room's attention, under a method; any member of a bank.
        packed: on the model's device.
        shares: they cover the examples, in order.

    Returns:
        Each share's summed loss, in nats, not divided.
    """
    hidden_LD, grad_LD, sums = _head_pass(tuned, packed, shares)
    hidden_LD.backward(grad_LD)
    return sums


def loss_gradients(
    tuned: Tuned,
    packed: Packed,
    shares: Sequence[Share],
    parameters: Sequence[torch.nn.Parameter],
) -> tuple[list[float], list[torch.Tensor | None]]:
    """The losses of `backward_losses`, and the gradients instead of adding them.

    Args:
        tuned, packed, shares: as there; the head is not trained.
        parameters: what to differentiate by; those that took no part get None.
    """
    hidden_LD, grad_LD, sums = _head_pass(tuned, packed, shares)
    grads = torch.autograd.grad(hidden_LD, parameters, grad_LD, allow_unused=True)
    return sums, list(grads)


def _head_pass(
    tuned: Tuned, packed: Packed, shares: Sequence[Share]
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """Hidden states [L, D] with their graph, the loss's gradient by them, and each share's sum."""
    counts = torch.tensor([share.examples for share in shares])
    assert int(counts.sum()) == packed.examples, "the shares must cover the batch"
    share_of_example = torch.arange(len(shares)).repeat_interleave(counts)
    device = packed.owners_L.device
    owners_L = share_of_example.to(device)[packed.owners_L]
    weights_L = torch.tensor([1 / share.divisor for share in shares], device=device)[owners_L]
    with _routed(tuned, packed, shares):
        hidden_LD = answer_states(tuned, packed)
    leaf_LD = hidden_LD.detach().requires_grad_()
    sums = torch.zeros(len(shares), device=device, dtype=torch.float64)
    for chunk in _chunks(tuned, packed):
        losses_L = _losses(tuned.base, tuned.model, leaf_LD[chunk], packed.targets_L[chunk])
        losses_L.backward(weights_L[chunk])
        sums.index_add_(0, owners_L[chunk], losses_L.detach().double())
    assert leaf_LD.grad is not None
    return hidden_LD, leaf_LD.grad, sums.tolist()


def backward_loss(
    tuned: Tuned, packed: Packed, *, divisor: int, seeds: tuple[int, ...] = ()
) -> float:
    """`backward_losses` of a batch that is all one run's."""
    share = Share(adapter=tuned.adapter, examples=packed.examples, divisor=divisor, seeds=seeds)
    return backward_losses(tuned, packed, [share])[0]


def _routed(
    tuned: Tuned, packed: Packed, shares: Sequence[Share]
) -> contextlib.AbstractContextManager[None]:
    if tuned.routing is None or not tuned.base.packed:
        return contextlib.nullcontext()
    spans: list[Span] = []
    families = iter(packed.families)
    for share in shares:
        lengths: list[int] = []
        left = share.examples
        while left > 0:
            family = next(families)
            lengths += [family.start, *family.lengths] if family.start else family.lengths
            left -= len(family.lengths)
        assert left == 0, "a family must be one share's"
        spans.append(Span(adapter=share.adapter, lengths=tuple(lengths), seeds=share.seeds))
    return tuned.routing.over(spans)


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
    sums = torch.zeros(packed.examples, dtype=torch.float64, device=hidden_LD.device)
    for chunk in _chunks(tuned, packed):
        losses_L = _losses(tuned.base, tuned.model, hidden_LD[chunk], packed.targets_L[chunk])
        sums.index_add_(0, packed.owners_L[chunk], losses_L.double())
    counts = torch.bincount(packed.owners_L, minlength=packed.examples)
    return [
        ExampleLoss(loss=float(loss), tokens=int(count))
        for loss, count in zip(sums, counts, strict=True)
    ]


def _chunks(tuned: Tuned, packed: Packed) -> list[slice]:
    size = tuned.base.head_chunk
    return [slice(start, start + size) for start in range(0, packed.targets, size)]


class _CrossEntropy(torch.autograd.Function):
    """Logits [L, V], which nobody else may hold, and targets [L] -> losses [L].

    The logits' memory becomes exp(logits - max), and then their gradient: four passes over it, and
    no second block of its size.
    """

    @staticmethod
    def forward(ctx: Any, logits_LV: torch.Tensor, targets_L: torch.Tensor) -> torch.Tensor:
        of_target_L = logits_LV.gather(1, targets_L[:, None])[:, 0]
        greatest_L = logits_LV.amax(1)
        exp_LV = logits_LV.sub_(greatest_L[:, None]).exp_()
        sum_L = exp_LV.sum(1)
        ctx.exp_LV, ctx.sum_L, ctx.targets_L = exp_LV, sum_L, targets_L
        return sum_L.log() + greatest_L - of_target_L

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        (grad_L,) = grad_outputs
        grad_LV = ctx.exp_LV.mul_((grad_L / ctx.sum_L)[:, None])
        ctx.exp_LV = None
        grad_LV.scatter_add_(1, ctx.targets_L[:, None], -grad_L[:, None])
        return grad_LV, None


class _CompiledCrossEntropy(torch.autograd.Function):
    """The same of logits in bfloat16: their gradient takes their place."""

    @staticmethod
    def forward(ctx: Any, logits_LV: torch.Tensor, targets_L: torch.Tensor) -> torch.Tensor:
        losses_L, sums_L = losses(logits_LV, targets_L)
        ctx.logits_LV, ctx.sums_L, ctx.targets_L = logits_LV, sums_L, targets_L
        return losses_L

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        grad_LV, ctx.logits_LV = ctx.logits_LV, None
        losses_backward(grad_LV, ctx.targets_L, ctx.sums_L, grad_outputs[0].contiguous())
        return grad_LV, None


def _losses(base: Base, model: Any, hidden_LD: torch.Tensor, targets_L: torch.Tensor) -> Any:
    """Cross-entropy [L], in nats."""
    logits_LV = model.get_output_embeddings()(hidden_LD)
    config = model.config.get_text_config()
    if base.compiled and logits_LV.dtype == torch.bfloat16 and not _is_changed(config):
        return _CompiledCrossEntropy.apply(logits_LV, targets_L)
    return _CrossEntropy.apply(_changed(logits_LV.float(), config), targets_L)


_CHANGES = ("logit_scale", "logits_scaling", "final_logit_softcapping")


def _is_changed(config: Any) -> bool:
    return any(getattr(config, name, None) for name in _CHANGES)


def _changed(logits_LV: torch.Tensor, config: Any) -> torch.Tensor:
    """Logits scaled and capped as the family's own forward does it."""
    if scale := getattr(config, "logit_scale", None):  # Cohere
        logits_LV = logits_LV * scale
    if divisor := getattr(config, "logits_scaling", None):  # Granite
        logits_LV = logits_LV / divisor
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma
        logits_LV = cap * torch.tanh(logits_LV / cap)
    return logits_LV
