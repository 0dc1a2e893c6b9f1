"""Where a workspace's verbs work: its folder, settings and catalogue, and a client's things in it.

The verbs take a `Place`, not the `Workspace` that calls them, so that the modules of this room
import one way.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from copydesk.content import TrainingIndex
from copydesk.corpus import read_material, read_style_guide
from copydesk.desk._config import Config
from copydesk.errors import UnknownName
from copydesk.records import Material, StyleGuide
from copydesk.registry import Version
from copydesk.store import Catalogue, Entry

PathLike = str | os.PathLike[str]
DATASETS = "datasets"
FOUNDATIONS = "bases"
"""The folder of a workspace's own bases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An open workspace, as its verbs see it."""

    root: Path
    config: Config
    catalogue: Catalogue

    @property
    def locks(self) -> Path:
        """Where the locks of clients lie."""
        return self.root / "locks"

    def client_folder(self, client: str) -> Path:
        """Where a client's style guide and drafts lie."""
        return self.root / "clients" / client

    def runs_folder(self, client: str) -> Path:
        """Where a client's unfinished runs lie."""
        return self.root / "runs" / client

    def cache_folder(self, client: str) -> Path:
        """Where a client's encoded datasets lie; each client has its own."""
        return self.root / "cache" / client


def newest_dataset(place: Place, client: str) -> Entry:
    """The client's newest dataset.

    Raises:
        UnknownName: no such client, or none of its pages were curated yet.
    """
    place.catalogue.client(client)
    entry = place.catalogue.latest(DATASETS, client)
    if entry is None:
        raise UnknownName(
            f"Client {client!r} has no pages yet",
            todo=f"Add some with: copydesk curate {client} FILE",
        )
    return entry


def version_dataset(place: Place, version: Version) -> Entry | None:
    """The dataset that a version was trained on; None where it is not in the catalogue any more."""
    wanted = version.inputs.get("dataset")
    entries = place.catalogue.entries(DATASETS, version.client)
    return next((entry for entry in reversed(entries) if entry.digest == wanted), None)


def client_material(place: Place, client: str) -> tuple[tuple[Material, ...], tuple[Material, ...]]:
    """Training and held-out pages and chats of the client's newest dataset.

    Raises:
        UnknownName: no such client, or none of its pages were curated yet.
    """
    entry = newest_dataset(place, client)
    return (
        read_material(entry.path / "train.jsonl"),
        read_material(entry.path / "heldout.jsonl"),
    )


def client_style_guide(place: Place, client: str) -> StyleGuide:
    """The client's style guide; an empty one where none was given."""
    place.catalogue.client(client)
    for path in sorted(place.client_folder(client).glob("style_guide.*")):
        return read_style_guide(path)
    return StyleGuide()


def client_training_index(place: Place, client: str) -> TrainingIndex | None:
    """The client's training pages, indexed for verbatim runs; None before any were curated."""
    place.catalogue.client(client)
    if place.catalogue.latest(DATASETS, client) is None:
        return None
    pages, _ = client_material(place, client)
    return TrainingIndex.build((page.id, page.own_words) for page in pages)
