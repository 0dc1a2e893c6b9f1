"""Cells: one method, learning rate and seed on one client, measured once and kept.

A cell holds figures and losses, no text and no names of pages. Its key is the digest of the run's
recipe and of all that it was scored on, so that a comparison that was cut off, or is asked for
again with another method or seed, measures only what is missing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from copydesk.models import ExampleLoss
from copydesk.records import LossPoint
from copydesk.store import json_digest
from copydesk.study._question import Material
from copydesk.train import Recipe

_FORMAT = 1

CellStatus = Literal["done", "cut", "diverged", "out_of_memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """How a model answers once it is tuned."""

    followed: tuple[bool, ...]
    """Of each task of the instruction probe, whether it was done as told."""
    tokens_per_second: float
    """Of one request, greedy, as the method leaves the model."""
    merged_tokens_per_second: float | None
    """The same, folded into the base; None for what does not merge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was measured of one run, or of a baseline. Losses are in nats."""

    status: CellStatus
    error: str | None = None
    seconds: float
    """Wall time of everything: loading, training, scoring, answering."""
    heldout: tuple[ExampleLoss, ...] = ()
    general: tuple[ExampleLoss, ...] = ()
    others: tuple[ExampleLoss, ...] = ()
    trainable_parameters: int = 0
    peak_memory_bytes: int | None = None
    train_seconds: float = 0.0
    tokens: int = 0
    clients_in_pass: int = 1
    artifact_bytes: int = 0
    curve: tuple[LossPoint, ...] = ()
    spoken: Spoken | None = None

    @property
    def scored(self) -> bool:
        """Whether there are losses to show."""
        return self.status in {"done", "cut"}


class CellShelf(Protocol):
    """Where cells are kept, a client's own."""

    def find(self, client: str, key: str) -> Mapping[str, Any] | None:
        """The record that was kept under a key; None where there is none that is whole."""
        ...

    def keep(
        self, client: str, key: str, record: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> None:
        """Keep a record, made of JSON values, naming the digests of what it came from."""
        ...


def run_key(recipe: Recipe, material: Material, *, probe: bool) -> str:
    """Identity of a final run's cell."""
    return json_digest(
        {"format": _FORMAT, "run": recipe.digest, "scored_on": material.digest, "probe": probe}
    )


def trial_key(recipe: Recipe) -> str:
    """Identity of a sweep's trial: its recipe names the part of the pages that it learns from."""
    return json_digest({"format": _FORMAT, "trial": recipe.digest})


def base_key(recipe: Recipe, material: Material, *, probe: bool) -> str:
    """Identity of the untuned base's cell, which no setting of a method changes."""
    return json_digest(
        {
            "format": _FORMAT,
            "baseline": "base",
            "dtype": str(recipe.dtype),
            "scored_on": material.digest,
            "probe": probe,
        }
    )


def prompted_key(recipe: Recipe, material: Material) -> str:
    """Identity of the prompted base's cell."""
    return json_digest(
        {
            "format": _FORMAT,
            "baseline": "prompted",
            "base": recipe.base.digest,
            "dtype": str(recipe.dtype),
            "scored_on": material.prompted_digest,
        }
    )


def cell_record(cell: Cell) -> dict[str, Any]:
    """A cell as JSON values."""
    losses = {
        part: [[loss.loss, loss.tokens] for loss in getattr(cell, part)]
        for part in ("heldout", "general", "others")
    }
    return asdict(cell) | losses


def read_cell(record: Mapping[str, Any]) -> Cell:
    """What `cell_record` made, after JSON."""
    losses = {
        part: tuple(ExampleLoss(loss=loss, tokens=tokens) for loss, tokens in record[part])
        for part in ("heldout", "general", "others")
    }
    spoken = record["spoken"]
    values: dict[str, Any] = {
        **record,
        **losses,
        "curve": tuple(LossPoint(**point) for point in record["curve"]),
        "spoken": spoken and Spoken(**(spoken | {"followed": tuple(spoken["followed"])})),
    }
    return Cell(**values)
