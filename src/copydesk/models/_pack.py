"""Packing: examples laid end to end without padding, attended apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from copydesk.models._encoded import Encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Examples end to end. Position p of `loss_positions_L` predicts `targets_L`."""

    input_ids_T: torch.Tensor
    position_ids_T: torch.Tensor
    """Counted anew in every example."""
    lengths: tuple[int, ...]
    """Tokens of each example, in order."""
    loss_positions_L: torch.Tensor
    targets_L: torch.Tensor
    owners_L: torch.Tensor
    """Which example each loss position belongs to."""

    @property
    def tokens(self) -> int:
        """T."""
        return sum(self.lengths)

    @property
    def targets(self) -> int:
        """L."""
        return int(self.targets_L.numel())

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
    assert examples, "nothing to pack"
    positions: list[int] = []
    owners: list[int] = []
    start = 0
    for number, example in enumerate(examples):
        end = start + len(example.ids)
        for first, last in example.spans:
            positions.extend(range(start + first - 1, start + last - 1))
        owners.extend([number] * example.answer_length)
        start = end
    input_ids_T = torch.tensor([token for example in examples for token in example.ids])
    loss_positions_L = torch.tensor(positions)
    return Packed(
        input_ids_T=input_ids_T,
        position_ids_T=torch.cat([torch.arange(len(example.ids)) for example in examples]),
        lengths=tuple(len(example.ids) for example in examples),
        loss_positions_L=loss_positions_L,
        targets_L=input_ids_T[loss_positions_L + 1],
        owners_L=torch.tensor(owners),
    )


def split_by_tokens(examples: Sequence[Encoded], limit: int) -> list[list[Encoded]]:
    """Cut a sequence of examples into runs of at most `limit` tokens, in order.

    An example longer than `limit` gets a run of its own.
    """
    runs: list[list[Encoded]] = []
    room = 0
    for example in examples:
        if not runs or len(example.ids) > room:
            runs.append([])
            room = limit
        runs[-1].append(example)
        room -= len(example.ids)
    return runs
