"""Low-rank pairs of many adapters beside one product, by the compiled kernels.

Each row is multiplied with its own adapter's pairs where they lie: nothing is stacked, masked or
copied when adapters come and go, and a row's sums do not depend on the other rows.
"""

import ctypes
from collections.abc import Sequence

import numpy as np
import torch

from copydesk.serve._fused import FusedAdapter, Place, number_of
from copydesk.serve._kernels import Kernels, Owners


class CompiledPairs:
    """Which adapter each of a step's rows has, as the kernels read it."""

    def __init__(self, adapters: Sequence[FusedAdapter | None], kernels: Kernels) -> None:
        """Take each row's adapter."""
        self._kernels = kernels
        # Held, so that their tables and tensors stay where they are.
        self._adapters = tuple({id(each): each for each in adapters if each is not None}.values())
        numbers = {id(adapter): number for number, adapter in enumerate(self._adapters)}
        self._tables = np.array([each.table.ctypes.data for each in self._adapters], dtype=np.int64)
        self._owners = np.array(
            [-1 if each is None else numbers[id(each)] for each in adapters], dtype=np.int64
        )
        self._order = np.argsort(self._owners, kind="stable").astype(np.int64)
        self._struct = Owners(
            tables=self._tables.ctypes.data,
            owners=self._owners.ctypes.data,
            order=self._order.ctypes.data,
            rows=len(adapters),
        )
        self.pointer = ctypes.addressof(self._struct)
        """Of `Owners`."""
        self._places = {place for adapter in self._adapters for place in adapter.pairs}

    def add(self, place: Place, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add the rows' low-rank products of x [R, D] to y [R, O]."""
        if place in self._places:
            self._kernels.add_pairs(self.pointer, number_of(place), x, y)
