"""Packing: examples laid end to end without padding, attended apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from copydesk.models._encoded import Encoded
from copydesk.models._shared_start import common_start, families_of, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Consecutive examples and their common start, which is laid once, before them."""

    start: int
    """Tokens of the start; 0 for none."""
    lengths: tuple[int, ...]
    """Tokens of each example after the start."""

    @property
    def rows(self) -> int:
        """Tokens that are laid."""
        return self.start + sum(self.lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Examples end to end. Position p of `loss_positions_L` predicts `targets_L`."""

    input_ids_T: torch.Tensor
    position_ids_T: torch.Tensor
    """Counted anew in every example."""
    families: tuple[Family, ...]
    """In order; they cover the rows."""
    loss_positions_L: torch.Tensor
    targets_L: torch.Tensor
    owners_L: torch.Tensor
    """Which example each loss position belongs to."""

    @property
    def rows(self) -> int:
        """T."""
        return sum(family.rows for family in self.families)

    @property
    def targets(self) -> int:
        """L."""
        return int(self.targets_L.numel())

    @property
    def examples(self) -> int:
        """How many there are."""
        return sum(len(family.lengths) for family in self.families)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each segment, in order: a family's start, if it has one, then what follows it
        of each example."""
        found: list[int] = []
        for family in self.families:
            found += [family.start] * (family.start > 0)
            found += family.lengths
        return tuple(found)

    @property
    def parents(self) -> tuple[int, ...]:
        """The number of the segment that each segment stands behind, or -1."""
        found: list[int] = []
        for family in self.families:
            first = len(found)
            found += [-1] * (family.start > 0)
            found += [first if family.start else -1] * len(family.lengths)
        return tuple(found)

    def to(self, device: torch.device) -> "Packed":
        """The same on another device."""
        return replace(
            self,
            input_ids_T=self.input_ids_T.to(device),
            position_ids_T=self.position_ids_T.to(device),
            loss_positions_L=self.loss_positions_L.to(device),
            targets_L=self.targets_L.to(device),
            owners_L=self.owners_L.to(device),
        )


def pack(examples: Sequence[Encoded]) -> Packed:
    """Lay examples end to end; the token at each position predicts the next one of its example."""
    return pack_families(families_of(examples, shared=False))


def pack_families(families: Sequence[Sequence[Encoded]]) -> Packed:
    """The same, and each family's common start once.

    Args:
        families: examples that one adapter is trained on or scored by; an example in a family of
            its own shares nothing.
    """
    assert families, "nothing to pack"
    ids: list[int] = []
    places: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    made: list[Family] = []
    number = 0
    for examples in families:
        start = common_start(examples)
        ids += examples[0].ids[:start]
        places += range(start)
        for example in examples:
            before = len(ids) - start
            for first, last in example.spans:
                positions += range(before + first - 1, before + last - 1)
                targets += example.ids[first:last]
            owners += [number] * example.answer_length
            number += 1
            ids += example.ids[start:]
            places += range(start, len(example.ids))
        lengths = tuple(len(example.ids) - start for example in examples)
        made.append(Family(start=start, lengths=lengths))
    return Packed(
        input_ids_T=torch.tensor(ids),
        position_ids_T=torch.tensor(places),
        families=tuple(made),
        loss_positions_L=torch.tensor(positions),
        targets_L=torch.tensor(targets),
        owners_L=torch.tensor(owners),
    )


def split_by_tokens(
    examples: Sequence[Encoded], limit: int, *, shared: bool = False
) -> list[list[Encoded]]:
    """Cut a sequence of examples into runs of at most `limit` tokens, in order.

    An example longer than `limit` gets a run of its own.

    Args:
        examples: in order.
        limit: of a run.
        shared: the tokens of a run's common start count once.
    """
    runs: list[list[Encoded]] = []
    for example in examples:
        grown = [*runs[-1], example] if runs else [example]
        if runs and rows_of(families_of(grown, shared)) <= limit:
            runs[-1] = grown
        else:
            runs.append([example])
    return runs
