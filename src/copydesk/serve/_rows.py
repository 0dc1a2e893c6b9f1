"""The adapter of each of some rows of a step, ready to be added to what the base computes."""

from collections.abc import Sequence
from typing import Protocol

import torch

from copydesk.serve._fused import FusedAdapter, Place


class Pairs(Protocol):
    """Adds low-rank products of rows."""

    def add(self, place: Place, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add the rows' products of x [R, D] at a place to y [R, O]."""
        ...


class Rows:
    """Consecutive rows with their adapters."""

    def __init__(self, start: int, adapters: Sequence[FusedAdapter | None], pairs: Pairs) -> None:
        """Take the first row, each row's adapter, and what adds their pairs."""
        self.start = start
        self.end = start + len(adapters)
        self.pairs = pairs
        self._adapters = adapters
        self._factors: dict[Place, torch.Tensor | None] = {}
        distinct = {id(each): each for each in adapters if each is not None}.values()
        self.has_factors = any(
            pair.factors is not None for each in distinct for pair in each.pairs.values()
        )
        """Whether any row has DoRA's."""
        self.narrow_groups = self._group_narrow()
        """Adapters with bottlenecks, and which rows of the step are theirs."""

    def add(self, place: Place, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add the rows' low-rank products of the step's x to its y."""
        whole = self.start == 0 and self.end == len(x)
        own = x if whole else x[self.start : self.end]
        self.pairs.add(place, own, y if whole else y[self.start : self.end])

    def scale(self, place: Place, y: torch.Tensor) -> None:
        """Multiply y by DoRA's factors on its rows, where any has them."""
        if not self.has_factors:
            return
        if place not in self._factors:
            self._factors[place] = self._gather_factors(place, y)
        factors = self._factors[place]
        if factors is not None:
            y[self.start : self.end].mul_(factors)

    def _gather_factors(self, place: Place, like: torch.Tensor) -> torch.Tensor | None:
        pairs = [None if each is None else each.pairs.get(place) for each in self._adapters]
        if all(pair is None or pair.factors is None for pair in pairs):
            return None
        ones = torch.ones(like.shape[1], device=like.device)
        rows = [ones if p is None or p.factors is None else p.factors for p in pairs]
        return torch.stack(rows).to(like.dtype)

    def _group_narrow(self) -> list[tuple[FusedAdapter, torch.Tensor]]:
        groups: dict[int, tuple[FusedAdapter, list[int]]] = {}
        for row, adapter in enumerate(self._adapters, self.start):
            if adapter is not None and adapter.narrow:
                groups.setdefault(id(adapter), (adapter, []))[1].append(row)
        return [(adapter, torch.tensor(rows)) for adapter, rows in groups.values()]
