"""Where a version comes from: run, base, dataset, pages, and by what right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LineagePage:
    """A page or chat that a version was trained on."""

    id: str
    title: str
    source: str
    """File and line, or address, that it was read from."""
    sha256: str
    """Of the raw bytes that it was read from."""
    url: str | None
    retrieved: str | None
    """When it was fetched or exported: ISO time, UTC."""
    date: str | None
    right: str | None
    """By what right others than its client may be trained on it; None: its client alone."""
    withdrawn: bool = False
    """Whether its owner withdrew it since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageBase:
    """A base, and what it was tuned from where it is a foundation."""

    name: str
    digest: str
    parent: str | None = None
    parent_digest: str | None = None
    rights: Mapping[str, int] = field(default_factory=dict[str, int])
    """Recorded right -> pages that a foundation was trained on by it."""
    withdrawn: bool = False
    """Whether it learned, itself or by what it was tuned from, from a page withdrawn since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """All that a version, or a draft by it, came from."""

    draft: str | None
    """The draft's file; None where a version was asked for."""
    client: str
    version: str
    digest: str
    """Of the version's artifact."""
    made: str
    method: str
    settings: Mapping[str, Any]
    run: str
    """Digest of the recipe."""
    template: str
    """Digest of the chat template."""
    base: LineageBase
    dataset: str | None
    """`client/number`; None where it is not in the catalogue any more."""
    dataset_digest: str
    pages: tuple[LineagePage, ...]
    """Trained on; empty where the dataset is gone."""
    heldout: int
    """Pages that were kept back."""
    withdrawn: int
    """Of the pages trained on, how many their owners withdrew since."""
    rights: Mapping[str, int]
    """Recorded right, or `client only` -> pages trained on by it."""
    live: bool
    """Whether it speaks for its client now."""
    evaluated: str | None
    """What its gates said last: `passed`, or those that failed; None where never asked."""
