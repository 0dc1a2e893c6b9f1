"""Low-rank pairs of many adapters beside one product, with torch alone.

The pairs of the layers that read one input lie together, and the adapters of a batch side by side:

    low [R, S] = (x A_all') * mask        S: ranks of all adapters, mask: a row's own columns
    y  [R, O] += low B_all'               B_all: each part's block at its own outputs

Two products for all rows and adapters, instead of two for each; a mask instead of gathered copies.
What a mask multiplies is finite: adapters with large or broken numbers were refused when they were
read, and a row whose own numbers break has zeros in the others' columns of its own row alone.

A stack is made when the set of adapters changes; `_compiled.py` does without.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch.nn import functional

from copydesk.serve._fused import FusedAdapter, Place

_STACKS = 8
"""Sets of adapters whose stacks are kept."""
_STACK_BYTES = 256 << 20
"""What they may take, but for the two that were used last."""


class Stack:
    """A set of adapters, side by side."""

    def __init__(self, adapters: Sequence[FusedAdapter]) -> None:
        self.adapters = tuple(adapters)
        self.places: dict[Place, tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]] = {}
        """A [S, D], B [O, S], and of each of the S the adapter's number."""
        for place in {place for adapter in adapters for place in adapter.pairs}:
            own = [(number, each.pairs.get(place)) for number, each in enumerate(adapters)]
            pairs = [(number, pair) for number, pair in own if pair is not None]
            self.places[place] = (
                torch.cat([pair.a for _, pair in pairs]),
                torch.cat([pair.dense_b() for _, pair in pairs], dim=1),
                tuple(number for number, pair in pairs for _ in range(len(pair.a))),
            )

    @property
    def bytes(self) -> int:
        """What it takes beside its adapters."""
        return sum(a.nbytes + b.nbytes for a, b, _ in self.places.values())


class StackedPairs:
    """A stack, and which of its adapters each of some rows has."""

    def __init__(self, adapters: Sequence[FusedAdapter | None], stack: Stack) -> None:
        """Take each row's adapter, and a stack that holds them."""
        self._stack = stack
        numbers = {id(adapter): number for number, adapter in enumerate(stack.adapters)}
        self._numbers = [
            -1 if adapter is None else numbers[id(adapter)] for adapter in adapters
        ]  # fmt: skip
        self._alone = len(stack.adapters) == 1 and min(self._numbers) == 0
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}

    def add(self, place: Place, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add the rows' low-rank products of x [R, D] to y [R, O]."""
        found = self._stack.places.get(place)
        if found is None:
            return
        a, b, owners = found
        low = functional.linear(x, a)
        if not self._alone:
            low.mul_(self._mask(owners, x))
        y.addmm_(low, b.T)

    def _mask(self, owners: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        mask = self._masks.get(owners)
        if mask is None:
            own = torch.tensor(owners, device=like.device)[None]
            mask = (own == torch.tensor(self._numbers, device=like.device)[:, None]).to(like.dtype)
            self._masks[owners] = mask
        return mask


class Stacks:
    """The stacks that were used lately."""

    def __init__(self, most: int) -> None:
        """Take how many stacks of one adapter are kept."""
        self._most = most
        self._several: OrderedDict[frozenset[int], Stack] = OrderedDict()
        self._singles: OrderedDict[frozenset[int], Stack] = OrderedDict()

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(stack.bytes for stack in [*self._several.values(), *self._singles.values()])

    def find(self, adapters: Sequence[FusedAdapter | None]) -> Stack:
        """A stack that holds these adapters: one alone, or a set that was not much larger."""
        chosen = {id(adapter): adapter for adapter in adapters if adapter is not None}
        key = frozenset(chosen)
        kept = self._singles if len(key) == 1 else self._several
        # When a text ends its adapter may stay: that costs less than a new stack.
        larger = [own for own in kept if key < own and len(own) <= 2 * len(key)]
        if key not in kept and larger:
            key = min(larger, key=len)
        if key not in kept:
            # A stack holds its adapters, so that no other can get their ids while it is kept.
            kept[key] = Stack(list(chosen.values()))
        kept.move_to_end(key)
        if len(self._singles) > self._most:
            self._singles.popitem(last=False)
        while len(self._several) > 2 and (
            len(self._several) > _STACKS or self.bytes > _STACK_BYTES
        ):
            self._several.popitem(last=False)
        return kept[key]
