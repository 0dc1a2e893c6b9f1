"""An adapter as the hand-written forward runs it: its pairs by the groups that are one product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from copydesk.models import AdapterWeights, Narrow
from copydesk.serve._architecture import GROUPS
from copydesk.serve._linears import Linear

Linears = Sequence[Mapping[str, Linear]]
"""Of each layer, the products by group."""
Place = tuple[int, str]
"""A layer's number and a group, or `attention` and `mlp` for what stands behind a block."""
_GROUPS = {group: at for at, group in enumerate(GROUPS)}
PARTS = max(len(parts) for parts in GROUPS.values())


def number_of(place: Place) -> int:
    """Of a place with pairs, among those of all layers."""
    layer, group = place
    return layer * len(_GROUPS) + _GROUPS[group]


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedPart:
    """A pair's B beside some outputs of a group."""

    begin: int
    """First output."""
    rank: int
    b: torch.Tensor
    """[ceil(R / 2), O, 2]: two ranks side by side, as processors multiply bfloat16 by twos."""

    @classmethod
    def of(cls, begin: int, b: torch.Tensor) -> "FusedPart":
        """From B [O, R]."""
        width, rank = b.shape
        twos = torch.nn.functional.pad(b, (0, rank % 2)).view(width, -1, 2)
        return cls(begin=begin, rank=rank, b=twos.transpose(0, 1).contiguous())

    def plain_b(self) -> torch.Tensor:
        """B [O, R]."""
        return self.b.transpose(0, 1).flatten(1)[:, : self.rank]


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedPair:
    """One adapter beside one group of linear layers."""

    a: torch.Tensor
    """[S, D]: the ranks of all parts, in their order."""
    parts: tuple[FusedPart, ...]
    outputs: int
    factors: torch.Tensor | None
    """DoRA's m / |W + B A| [O], 1 where a part is not adapted; None without DoRA."""

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.a.nbytes + sum(part.b.nbytes for part in self.parts)

    def dense_b(self) -> torch.Tensor:
        """B [O, S] of all parts, zero where a rank is not an output's."""
        dense = self.a.new_zeros(self.outputs, len(self.a))
        column = 0
        for part in self.parts:
            rows = slice(part.begin, part.begin + part.b.shape[1])
            dense[rows, column : column + part.rank] = part.plain_b()
            column += part.rank
        return dense


@dataclass(frozen=True, eq=False, kw_only=True)
class FusedAdapter:
    """An adapter's tensors; the same object is the same adapter."""

    layers: int
    """Of the base."""
    pairs: dict[Place, FusedPair]
    narrow: dict[Place, Narrow]
    non_linearity: str
    prefix: torch.Tensor | None
    prompt: torch.Tensor | None
    linears: Linears | None = None
    """The base's products with the pairs merged in, of a merged copy; it has no pairs then."""
    merged_bytes: int = 0
    """What those take that are not the base's own."""

    @property
    def beside(self) -> bool:
        """Something of it is computed beside the products."""
        return bool(self.pairs or self.narrow)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        tensors = [
            tensor
            for narrow in self.narrow.values()
            for tensor in (narrow.down, narrow.down_bias, narrow.up, narrow.up_bias)
        ]
        tensors += [tensor for tensor in (self.prefix, self.prompt) if tensor is not None]
        pairs = sum(pair.bytes for pair in self.pairs.values())
        return self.merged_bytes + pairs + sum(tensor.nbytes for tensor in tensors)

    @cached_property
    def table(self) -> np.ndarray:
        """Where the pairs lie, as `_kernels.cpp` reads it, for as long as the adapter lives.

        [places, parts, 5]: addresses of A and B, rank, first output, number of outputs.
        """
        table = np.zeros((self.layers * len(_GROUPS), PARTS, 5), dtype=np.int64)
        for place, pair in self.pairs.items():
            address = pair.a.data_ptr()
            for at, part in enumerate(pair.parts):
                width = part.b.shape[1]
                own = address, part.b.data_ptr(), part.rank, part.begin, width
                table[number_of(place), at] = own
                address += part.rank * pair.a.shape[1] * pair.a.itemsize
        return table


def fuse_pairs(
    weights: AdapterWeights,
    names: Sequence[str],
    widths: Sequence[int],
    factors: torch.Tensor | None,
) -> FusedPair:
    """The pairs of a group, of which the adapter has at least one.

    Args:
        weights: the adapter's.
        names: of the group's layers.
        widths: outputs of each.
        factors: DoRA's, of the whole group.
    """
    parts: list[FusedPart] = []
    lows: list[torch.Tensor] = []
    begin = 0
    for name, width in zip(names, widths, strict=True):
        if (pair := weights.pairs.get(name)) is not None:
            parts.append(FusedPart.of(begin, pair.b))
            lows.append(pair.a)
        begin += width
    return FusedPair(a=torch.cat(lows), parts=tuple(parts), outputs=begin, factors=factors)
