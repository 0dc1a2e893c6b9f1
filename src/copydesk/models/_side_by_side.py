"""Batches side by side: two at a time, each on half of the processor's threads.

All threads on one product wait for one another at its end, tens of thousands of times a step, and
on a machine that does other work too each wait may cost a slice of the scheduler's time. Two
threads that each run a whole batch meet once, when its gradients are added. Those are added in the
order of the batches, whichever ends first, so that a run repeats to the bit.

Memory is what the C library's allocator makes of it, which gives back and joins only what lies side
by side. A batch's gradients, hundreds of small tensors, are therefore moved into one block that
lies apart as soon as they are complete, and the two threads stay: each has an arena of the
allocator's own, where one batch's activations take the place of the last one's.
"""

import functools
import mmap
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
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
_PRIVATE: Any = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
)
"""Of memory that no other process shares."""
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
    """Add the gradients of all batches to their parameters; returns the losses of their shares."""
    found = dict(backward_each(batches, lanes))
    return [found[number] for number in range(len(batches))]


def backward_each(batches: Sequence[Batch], lanes: Lanes) -> Generator[tuple[int, list[float]]]:
    """Add the gradients of all batches to their parameters, one batch after another.

    Pairs of short batches come first; then the others, each on all threads. Between two, the
    parameters of batches that are done may be changed.

    Yields:
        A batch's number and the losses of its shares, when its gradients have been added.
    """
    pairs = lanes.pairs([batch.packed.rows for batch in batches])
    others = [number for number in range(len(batches)) if number not in set(pairs)]
    if not lanes.beside:
        for number, batch in enumerate(batches):
            yield number, backward_losses(batch.tuned, batch.packed, batch.shares)
        return
    jobs, alone = ([partial(_gradients, batches[one]) for one in of] for of in (pairs, others))
    for number, found in zip([*pairs, *others], two_at_once(jobs, alone), strict=True):
        yield number, _add(batches[number], found)


def two_at_once(
    jobs: Sequence[Callable[[], Result]], alone: Sequence[Callable[[], Result]] = ()
) -> Generator[Result]:
    """Run jobs two at a time, each on half of the threads, and then others one after another, each
    on all threads; results in the order of the jobs.

    With one thread, or nothing to run beside another, they run where they are asked for. An error
    ends those that have not begun.
    """
    threads = torch.get_num_threads()
    if threads < _AT_ONCE or len(jobs) < _AT_ONCE:
        yield from (job() for job in (*jobs, *alone))
        return
    pool = _pool()
    under_way = deque(pool.submit(_on, threads // _AT_ONCE, job) for job in jobs)
    left = deque(alone)
    try:
        while under_way or left:
            if not under_way:
                under_way.append(pool.submit(_on, threads, left.popleft()))
            result = under_way[0].result()
            under_way.popleft()
            yield result
    finally:
        for future in under_way:
            future.cancel()
        wait(under_way)
        # The count that a thread sets is also what threads begin with that come later.
        torch.set_num_threads(threads)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Two threads for the process's lifetime: the C library gives each an arena of memory, and
    those of threads that just ended are not always there for the next ones, which get others."""
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lane")


if hasattr(os, "register_at_fork"):  # a child has no threads but its own
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _on(threads: int, job: Callable[[], Result]) -> Result:
    torch.set_num_threads(threads)
    return job()


_Found = tuple[list[float], list[torch.Tensor | None]]


def _gradients(batch: Batch) -> _Found:
    losses, grads = loss_gradients(batch.tuned, batch.packed, batch.shares, batch.parameters)
    return losses, _moved(grads, batch.parameters)


def _moved(
    grads: list[torch.Tensor | None], parameters: Sequence[nn.Parameter]
) -> list[torch.Tensor | None]:
    """Gradients in one block of memory of their own, in the parameters' strides: PyTorch's fused
    optimisers read both alike. `grads` is emptied on the way."""
    size = sum(grad.nbytes for grad in grads if grad is not None)
    block = mmap.mmap(-1, max(1, size), **_PRIVATE)
    moved: list[torch.Tensor | None] = []
    at = 0
    for number, parameter in enumerate(parameters):
        grad, grads[number] = grads[number], None
        if grad is None:
            moved.append(None)
            continue
        flat = torch.frombuffer(block, dtype=grad.dtype, count=grad.numel(), offset=at)
        moved.append(flat.as_strided(parameter.size(), parameter.stride()).copy_(grad))
        at += grad.nbytes
    return moved


def _add(batch: Batch, found: _Found) -> list[float]:
    losses, grads = found
    for parameter, grad in zip(batch.parameters, grads, strict=True):
        if grad is None:
            continue
        if parameter.grad is None:
            parameter.grad = grad
        else:
            parameter.grad.add_(grad)
    return losses


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
