"""Low-rank pairs of many adapters beside one product.

The pairs of the layers that read one input lie together, and the adapters of a batch side by side:

    low [R, S] = (x A_all') * mask        S: ranks of all adapters, mask: a row's own columns
    y  [R, O] += low B_all'               B_all: each part's block at its own outputs

Two products for all rows and adapters, instead of two for each; a mask instead of gathered copies.
What a mask multiplies is finite: adapters with large or broken numbers were refused when they were
read, and a row whose own numbers break has zeros in the others' columns of its own row alone.

A stack is made when the set of adapters changes. One that stays is packed into oneDNN's layout,
which takes as long as a few steps and makes each of them faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from copydesk.models import AdapterWeights, Narrow
from copydesk.serve._linears import PackedLinear

_PACK_AFTER = 6
"""Steps of one set of adapters."""
_FEW = 4
"""Rows up to which a product this narrow costs little more than its call, which is cheaper in
float32 than in bfloat16 (benchmarks/step_parts.py, `pairs`)."""

Place = tuple[int, str]
"""A layer's number and a group, or `attention` and `mlp` for what stands behind a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedPair:
    """One adapter beside one group of linear layers."""

    a: torch.Tensor
    """[S, D]"""
    b: torch.Tensor
    """[O, S]"""
    factors: torch.Tensor | None
    """DoRA's m / |W + B A| [O], 1 where a part is not adapted; None without DoRA."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FusedAdapter:
    """An adapter as the hand-written forward runs it; the same object is the same adapter."""

    pairs: dict[Place, FusedPair]
    narrow: dict[Place, Narrow]
    non_linearity: str
    prefix: torch.Tensor | None
    prompt: torch.Tensor | None

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        tensors = [tensor for pair in self.pairs.values() for tensor in (pair.a, pair.b)]
        tensors += [
            tensor
            for narrow in self.narrow.values()
            for tensor in (narrow.down, narrow.down_bias, narrow.up, narrow.up_bias)
        ]
        tensors += [tensor for tensor in (self.prefix, self.prompt) if tensor is not None]
        return sum(tensor.nbytes for tensor in tensors)


def fuse_pairs(
    weights: AdapterWeights, names: Sequence[str], widths: Sequence[int], inputs: int
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A [S, D] and B [O, S] of a group; None where the adapter has no part of it."""
    found = [(at, weights.pairs[name]) for at, name in enumerate(names) if name in weights.pairs]
    if not found:
        return None
    ranks = [len(pair.a) for _, pair in found]
    b = found[0][1].b.new_zeros(sum(widths), sum(ranks))
    column = 0
    for (at, pair), rank in zip(found, ranks, strict=True):
        row = sum(widths[:at])
        b[row : row + widths[at], column : column + rank] = pair.b
        column += rank
    a = torch.cat([pair.a for _, pair in found])
    assert a.shape[1] == inputs
    return a, b


@dataclass(slots=True)
class _Beside:
    """The pairs of all adapters of a stack at one place."""

    pair: tuple[torch.Tensor, torch.Tensor] | None
    """A [S, D] and B [O, S]; None once they are packed."""
    owners: tuple[int, ...]
    """Of each column: the adapter's number in the stack."""
    packed_a: PackedLinear | None = None
    packed_b: PackedLinear | None = None
    wide: tuple[torch.Tensor, torch.Tensor] | None = None
    """A' [D, S] and B' [S, O] in float32, for few rows."""

    def widen(self) -> bool:
        """Hold the pair in float32, if it is not packed already."""
        if self.wide is None and self.pair is not None:
            a, b = self.pair
            self.wide = a.float().T.contiguous(), b.float().T.contiguous()
        return self.wide is not None

    def pack(self) -> None:
        """Hold the pair in oneDNN's layout alone."""
        assert self.pair is not None
        self.packed_a, self.packed_b = PackedLinear(self.pair[0]), PackedLinear(self.pair[1])
        self.pair = None


class Stack:
    """A set of adapters, side by side."""

    def __init__(self, adapters: Sequence[FusedAdapter], *, packs: bool) -> None:
        self.adapters = tuple(adapters)
        self.packs = packs
        self._steps = 0
        self.widened = False
        """Few rows ran, so that the pairs are held in float32 too."""
        self._bytes = sum(
            pair.a.nbytes + pair.b.nbytes for each in adapters for pair in each.pairs.values()
        )
        self.places: dict[Place, _Beside] = {}
        for place in {place for adapter in adapters for place in adapter.pairs}:
            own = [(number, each.pairs.get(place)) for number, each in enumerate(adapters)]
            pairs = [(number, pair) for number, pair in own if pair is not None]
            self.places[place] = _Beside(
                pair=(
                    (pairs[0][1].a, pairs[0][1].b)
                    if len(pairs) == 1
                    else (
                        torch.cat([pair.a for _, pair in pairs]),
                        torch.cat([pair.b for _, pair in pairs], dim=1),
                    )
                ),
                owners=tuple(number for number, pair in pairs for _ in range(len(pair.a))),
            )

    def settle(self) -> None:
        """Count a step; a stack that stays is packed."""
        self._steps += 1
        if self.packs and self._steps == _PACK_AFTER:
            for beside in self.places.values():
                beside.pack()

    @property
    def bytes(self) -> int:
        """About what it takes beside its adapters; float32 for few rows is twice as much again."""
        copies = (2 if self.widened else 0) + (self._steps >= _PACK_AFTER or len(self.adapters) > 1)
        return self._bytes * copies


class Rows:
    """The adapter of each of some consecutive rows of a step, ready to be added."""

    def __init__(self, start: int, adapters: Sequence[FusedAdapter | None], stack: Stack) -> None:
        """Take the first row, each row's adapter, and a stack that holds them."""
        self.start = start
        self.end = start + len(adapters)
        self.stack = stack
        self._adapters = adapters
        self._numbers: list[int] = []
        numbers = {id(adapter): number for number, adapter in enumerate(stack.adapters)}
        for adapter in adapters:
            self._numbers.append(-1 if adapter is None else numbers[id(adapter)])
        self._few = stack.packs and len(adapters) <= _FEW
        stack.widened |= self._few
        self._alone = len(stack.adapters) == 1 and min(self._numbers) == 0
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}
        self._factors: dict[Place, torch.Tensor | None] = {}
        self._any_factors = any(
            pair.factors is not None for each in stack.adapters for pair in each.pairs.values()
        )
        self.narrow_groups = self._group_narrow()

    def add(self, place: Place, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """y [R, O] with the rows' low-rank products of x [R, D] added; y may be changed."""
        beside = self.stack.places.get(place)
        if beside is None:
            return y
        whole = self.start == 0 and self.end == len(x)
        own = x if whole else x[self.start : self.end]
        into = y if whole else y[self.start : self.end]
        mask = None if self._alone else self._mask(beside.owners, x)
        if self._few and beside.widen() and beside.wide is not None:
            low = own.float() @ beside.wide[0]
            if mask is not None:
                low.mul_(mask)
            into.add_(low @ beside.wide[1])
            return y
        if beside.packed_a is not None and beside.packed_b is not None:
            low = beside.packed_a(own) if mask is None else beside.packed_a.times(own, mask)
            added = beside.packed_b.add(low, into)
            if whole:
                return added
            into.copy_(added)
            return y
        assert beside.pair is not None
        low = functional.linear(own, beside.pair[0])
        if mask is not None:
            low.mul_(mask)
        into.addmm_(low, beside.pair[1].T)
        return y

    def scale(self, place: Place, y: torch.Tensor) -> torch.Tensor:
        """y with DoRA's factors on its rows, where any has them."""
        if not self._any_factors:
            return y
        if place not in self._factors:
            self._factors[place] = self._gather_factors(place, y)
        factors = self._factors[place]
        if factors is not None:
            y[self.start : self.end].mul_(factors)
        return y

    def has_factors(self) -> bool:
        """Whether any row has DoRA's."""
        return self._any_factors

    def settle(self) -> None:
        """Count a step of these rows; few of them are no reason to pack."""
        if not self._few:
            self.stack.settle()

    def _mask(self, owners: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        mask = self._masks.get(owners)
        if mask is None:
            own = torch.tensor(owners, device=like.device)[None]
            mask = (own == torch.tensor(self._numbers, device=like.device)[:, None]).to(like.dtype)
            self._masks[owners] = mask
        return mask

    def _gather_factors(self, place: Place, like: torch.Tensor) -> torch.Tensor | None:
        pairs = [None if each is None else each.pairs.get(place) for each in self._adapters]
        if all(pair is None or pair.factors is None for pair in pairs):
            return None
        ones = torch.ones(like.shape[1], device=like.device)
        rows = [ones if p is None or p.factors is None else p.factors for p in pairs]
        return torch.stack(rows).to(like.dtype)

    def _group_narrow(self) -> list[tuple[FusedAdapter, Any]]:
        """Adapters with bottlenecks, and which rows of the step are theirs."""
        groups: dict[int, tuple[FusedAdapter, list[int]]] = {}
        for row, adapter in enumerate(self._adapters, self.start):
            if adapter is not None and adapter.narrow:
                groups.setdefault(id(adapter), (adapter, []))[1].append(row)
        return [(adapter, torch.tensor(rows)) for adapter, rows in groups.values()]
