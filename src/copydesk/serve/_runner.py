"""The seam between the engine and what multiplies: slots that tokens are run through.

A slot holds the keys and values of one text. The engine gives slots to requests and decides what is
run when; a runner knows architectures and adapters, and neither requests nor threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from copydesk.models import AdapterWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive tokens of one slot, to be run now."""

    slot: int
    ids: Sequence[int]
    """Token ids; -1 - i is the i-th virtual token of the slot's adapter."""
    start: int
    """Position of the first of them: what the slot holds already."""
    wanted: bool
    """Whether the logits behind the last of them are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValues:
    """Keys and values of some positions of a slot, copied out: [L, 2, H_kv, T, K]."""

    states: torch.Tensor

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.states.nbytes

    def part(self, start: int, end: int) -> "KeyValues":
        """A copy of some of its positions."""
        return KeyValues(
            states=self.states[:, :, :, start:end].clone(memory_format=torch.contiguous_format)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An adapter as a runner uses it."""

    virtual_tokens: int
    """Positions that it takes itself."""
    prompted: bool
    """They are embeddings, to be run before the prompt, not keys and values."""
    bytes: int
    own: Any
    """The runner's."""
    merged: bool = False
    """It is a copy of the base with the adapter merged in."""


class Runner(Protocol):
    """Runs tokens of many slots at once. Called from one thread."""

    @property
    def slots(self) -> int:
        """How many texts it can hold."""
        ...

    @property
    def length(self) -> int:
        """Positions that a slot has."""
        ...

    @property
    def bytes(self) -> int:
        """The most that its slots can take."""
        ...

    @property
    def stacks_bytes(self) -> int:
        """What is held beside the adapters to run them faster."""
        ...

    @property
    def takes_parts(self) -> bool:
        """Whether a prompt may be run in several stretches, and slots copied out and in."""
        ...

    def prepare(self, weights: AdapterWeights) -> Prepared:
        """Lay an adapter out for use; any thread.

        Raises:
            InvalidInput: adapters of this kind do not fit the base.
        """
        ...

    def merge(self, adapter: Prepared) -> Prepared | None:
        """A merged copy of a prepared adapter; any thread. None where there can be none."""
        ...

    def open(self, slot: int, adapter: Prepared | None) -> int:
        """Take an empty slot for a text; returns the positions that the adapter itself fills."""
        ...

    def run(self, stretches: Sequence[Stretch]) -> torch.Tensor:
        """Logits [rows, V] of the stretches that want them, in order."""
        ...

    def close(self, slot: int, *, clean: bool) -> None:
        """Empty a slot; where `clean` is false, numbers in it may not be finite."""
        ...

    def copy_out(self, slot: int, start: int, end: int) -> KeyValues:
        """Keys and values of the positions from `start` to before `end`."""
        ...

    def copy_in(self, slot: int, start: int, kept: KeyValues) -> None:
        """Put keys and values at `start` and on."""
        ...
