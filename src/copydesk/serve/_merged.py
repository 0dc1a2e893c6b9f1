"""Copies of the base's products with one adapter merged in, for a client that is served alone.

A copy saves the low-rank products, about a tenth of a step (benchmarks/serve_one_client.py). It
takes as much memory as the base's layers, and texts of other clients need a run of their own beside
it, which reads all weights twice. So it is made only where it is asked for, and only for an adapter
that had nearly all of the last steps to itself; a text ends through what it began through. Weights
are rounded once more when they are merged: with a copy a client's text may differ from the one
without, as it may between two machines.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from copydesk.errors import CopydeskError
from copydesk.serve._architecture import Architecture
from copydesk.serve._formulas import weight_columns
from copydesk.serve._fused import FusedAdapter, FusedPair
from copydesk.serve._linears import Linear, hold
from copydesk.serve._openmp import end_idle_threads, use_one_thread
from copydesk.serve._runner import Prepared

_LOG = logging.getLogger(__name__)
_STEPS = 256
"""That are looked back on."""
_MADE_AT, _DROPPED_AT = 0.9, 0.5
"""Shares of those steps in which an adapter was alone."""


def merge_adapter(shape: Architecture, adapter: FusedAdapter) -> FusedAdapter:
    """W + B A for every product that the adapter has pairs beside; the others are the base's own.

    Args:
        shape: a base whose weights are not quantised.
        adapter: with pairs. What it has beside them stays beside.
    """
    linears: list[Mapping[str, Linear]] = []
    taken = 0
    for number, layer in enumerate(shape.layers):
        own = dict(layer.linears)
        for group, linear in layer.linears.items():
            if (pair := adapter.pairs.get((number, group))) is not None:
                weight = _merged(linear, pair)
                taken += weight.nbytes
                own[group] = hold(weight, None)
        linears.append(own)
    return replace(adapter, pairs={}, linears=linears, merged_bytes=taken)


def _merged(linear: Linear, pair: FusedPair) -> torch.Tensor:
    """[O, D] in the number format of the pair, rounded once."""
    columns = torch.cat(list(weight_columns(linear, pair.a.shape[1], pair.a)))
    weight = columns.T.float().addmm(pair.dense_b().float(), pair.a.float())
    if pair.factors is not None:
        weight.mul_(pair.factors.float()[:, None])
    return weight.to(pair.a.dtype).contiguous()


def _closed(_: Prepared) -> None:
    raise AssertionError("no copies are made any more")


class Copies:
    """The merged copies in use, at most `limit` of them, and for whom one pays."""

    def __init__(self, merge: Callable[[Prepared], Prepared | None], *, limit: int) -> None:
        """Take what merges an adapter, on another thread; None where there is nothing to merge."""
        self._merge = merge
        self._limit = limit
        self._steps: deque[str | None] = deque(maxlen=_STEPS)
        """Whose alone each step was."""
        self._alone: Counter[str | None] = Counter()
        self._copies: dict[str, Prepared | None] = {}
        """By digest; None while it is made, and where there is nothing to merge."""
        self._lock = threading.Lock()
        self._maker = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="copydesk-copies", initializer=use_one_thread
        )

    @property
    def count(self) -> int:
        """Copies that are ready."""
        with self._lock:
            return sum(copy is not None for copy in self._copies.values())

    @property
    def bytes(self) -> int:
        """What they take."""
        with self._lock:
            return sum(copy.bytes for copy in self._copies.values() if copy is not None)

    def note(self, digests: Collection[str]) -> None:
        """A step was run for these adapters; of the base the digest is empty."""
        if not self._limit or not digests:
            return
        if len(self._steps) == _STEPS:
            self._alone[self._steps[0]] -= 1
        whose = next(iter(digests)) if len(digests) == 1 else None
        self._steps.append(whose)
        self._alone[whose] += 1
        with self._lock:
            for digest in list(self._copies):
                if self._alone[digest] < _DROPPED_AT * _STEPS:
                    del self._copies[digest]

    def find(self, digest: str, adapter: Prepared) -> Prepared:
        """The adapter's copy where there is one, else the adapter; begins to make one that pays."""
        if not self._limit:
            return adapter
        with self._lock:
            if digest in self._copies:
                return self._copies[digest] or adapter
            if self._alone[digest] >= _MADE_AT * _STEPS and len(self._copies) < self._limit:
                self._copies[digest] = None
                self._maker.submit(self._make, digest, adapter)
        return adapter

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._copies.clear()
        self._steps.clear()
        self._alone.clear()

    def close(self) -> None:
        """Make no more, and let go of all."""
        self._maker.shutdown(wait=True, cancel_futures=True)
        self._merge = _closed
        self.clear()

    def _make(self, digest: str, adapter: Prepared) -> None:
        try:
            made = self._merge(adapter)
        except (CopydeskError, RuntimeError, MemoryError):
            _LOG.exception("no merged copy of an adapter could be made: it runs without")
            return
        finally:
            end_idle_threads()  # MKL's products take as many as torch has, whatever was set
        with self._lock:
            if digest in self._copies:  # it may have been dropped meanwhile
                self._copies[digest] = made
