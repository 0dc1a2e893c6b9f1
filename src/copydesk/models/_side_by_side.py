"""Batches side by side: two at a time, each on half of the processor's threads.

All threads on one product wait for one another at its end, tens of thousands of times a step, and
on a machine that does other work too each wait may cost a slice of the scheduler's time. Two
threads that each run a whole batch meet once, when its gradients are added. Those are added in the
order of the batches, whichever ends first, so that a run repeats to the bit.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from copydesk.models._lora import has_lean_forward
from copydesk.models._loss import Share, backward_losses, loss_gradients
from copydesk.models._pack import Packed
from copydesk.models._tuned import Tuned

_AT_ONCE = 2
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A packed batch of one run, or of several over one base."""

    tuned: Tuned
    """Any of the members."""
    packed: Packed
    shares: tuple[Share, ...]
    parameters: tuple[nn.Parameter, ...]
    """What the shares' examples train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """How the tokens that may be run at once are shared out."""

    tokens: int
    """Of a batch; a longer example is still one batch."""
    beside: bool
    """Whether batches of no more than that run side by side."""

    def pairs(self, tokens: Sequence[int]) -> list[int]:
        """Numbers of the batches of so many tokens that run side by side.

        An odd one is left to run on all threads, rather than on half of them with half idle.
        """
        short = [number for number, count in enumerate(tokens) if count <= self.tokens]
        return short[: len(short) // _AT_ONCE * _AT_ONCE] if self.beside else []


def make_lanes(tuned: Tuned, at_once: int) -> Lanes:
    """Two lanes where batches may run side by side, or one.

    Args:
        tuned: any of the members, on the base that all use.
        at_once: tokens whose activations may be in memory.
    """
    return _lanes(_trains_apart(tuned), at_once)


def scoring_lanes(tuned: Tuned, at_once: int) -> Lanes:
    """The same for forward passes without gradients, in evaluation mode."""
    return _lanes(_keeps_no_state(tuned), at_once)


def _lanes(beside: bool, at_once: int) -> Lanes:
    return Lanes(tokens=at_once // _AT_ONCE if beside else at_once, beside=beside)


def backward_batches(batches: Sequence[Batch], lanes: Lanes) -> list[list[float]]:
    """Add the gradients of all batches to their parameters; returns the losses of their shares.

    Pairs of short batches come first; then the others, each on all threads.
    """
    found: dict[int, list[float]] = {}
    pairs = lanes.pairs([batch.packed.rows for batch in batches])
    jobs = [partial(_gradients, batches[number]) for number in pairs]
    for number, (losses, grads) in zip(pairs, two_at_once(jobs), strict=True):
        found[number] = losses
        for parameter, grad in zip(batches[number].parameters, grads, strict=True):
            if grad is not None:
                _add(parameter, grad)
    for number, batch in enumerate(batches):
        if number not in found:
            found[number] = backward_losses(batch.tuned, batch.packed, batch.shares)
    return [found[number] for number in range(len(batches))]


def two_at_once(jobs: Sequence[Callable[[], Result]]) -> Generator[Result]:
    """Run jobs two at a time, each on half of the threads; results in the order of the jobs.

    With one thread they run one after another. An error ends those that have not begun.
    """
    threads = torch.get_num_threads()
    if len(jobs) < _AT_ONCE or threads < _AT_ONCE:
        yield from (job() for job in jobs)
        return
    pool = ThreadPoolExecutor(
        _AT_ONCE, initializer=torch.set_num_threads, initargs=(threads // _AT_ONCE,)
    )
    try:
        under_way = deque(pool.submit(job) for job in jobs)
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # The count that a thread sets is also what threads begin with that come later.
        torch.set_num_threads(threads)


def _gradients(batch: Batch) -> tuple[list[float], list[torch.Tensor | None]]:
    return loss_gradients(batch.tuned, batch.packed, batch.shares, batch.parameters)


def _add(parameter: nn.Parameter, grad: torch.Tensor) -> None:
    if parameter.grad is None:
        # In the parameter's strides: PyTorch's fused optimisers read both alike.
        parameter.grad = torch.empty_like(parameter).copy_(grad)
    else:
        parameter.grad.add_(grad)


def _trains_apart(tuned: Tuned) -> bool:
    """Whether threads meet nowhere: not in gradients, random streams or a module's state."""
    head: Any = tuned.model.get_output_embeddings()
    return (
        tuned.method != "full"  # every batch in flight would hold a gradient of all weights
        and not any(weight.requires_grad for weight in head.parameters())
        and not _draws(tuned.model, tuned.model.config.get_text_config())
        and _keeps_no_state(tuned)
    )


def _keeps_no_state(tuned: Tuned) -> bool:
    config: Any = tuned.model.config.get_text_config()
    rope = str(getattr(config, "rope_parameters", None))
    grows = "dynamic" in rope or "longrope" in rope  # they keep the longest length seen
    return tuned.base.device.type == "cpu" and not grows


def _draws(model: nn.Module, config: Any) -> bool:
    """Whether a forward pass takes dropout from the global random stream."""
    if any(value for name, value in vars(config).items() if "drop" in name):
        return True
    lean = {
        id(dropout)
        for layer in model.modules()
        if isinstance(layer, LoraLayer) and has_lean_forward(layer)  # seeds for each example
        for dropout in layer.lora_dropout.values()
    }
    return any(
        isinstance(module, nn.Dropout) and module.p > 0 and id(module) not in lean
        for module in model.modules()
    )
