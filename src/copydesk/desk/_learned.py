"""Which models learned from given pages: foundations by their list, versions by their inputs."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from copydesk.desk._place import FOUNDATIONS, Place
from copydesk.errors import CopydeskError
from copydesk.registry import Version, versions
from copydesk.store import json_bytes, open_artifact

LEARNED_FILE: Final = "learned.json"
"""In a foundation's folder: the digests of the datasets and the hashes of the pages it learned."""


class Learned(BaseModel):
    """What a foundation learned from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    datasets: frozenset[str]
    """Digests."""
    pages: frozenset[str]
    """SHA-256 of each page's raw bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """A model that learned from some pages, itself or by the base it stands on."""

    kind: Literal["foundation", "version"]
    name: str
    digest: str
    """Of a foundation, the digest by which it is a base."""


def write_learned(folder: Path, learned: Learned) -> None:
    """Record in a foundation's folder what it learned from."""
    record = {name: sorted(value) for name, value in learned.model_dump().items()}
    (folder / LEARNED_FILE).write_bytes(json_bytes(record))


def read_learned(folder: Path) -> Learned | None:
    """What a foundation learned from; None for one from before that was recorded."""
    try:
        return Learned.model_validate_json((folder / LEARNED_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def foundations(place: Place) -> tuple[Path, ...]:
    """Folders of the workspace's own bases."""
    found = (place.root / FOUNDATIONS).glob("*/manifest.json")
    return tuple(sorted(file.parent for file in found if not file.parent.name.startswith(".")))


def unknown_learners(place: Place) -> tuple[str, ...]:
    """Foundations of which it is not known what they learned from."""
    return tuple(folder.name for folder in foundations(place) if read_learned(folder) is None)


def learners(
    place: Place, *, pages: Set[str], datasets: Set[str], but: str | None = None
) -> tuple[Learner, ...]:
    """Foundations and versions that learned from these pages or datasets.

    A version learned from its dataset and from what its base learned from, and a foundation that
    was trained on another learned from what that one did.

    Args:
        place: the workspace.
        pages: SHA-256 of pages' raw bytes.
        datasets: digests of whole datasets.
        but: a client whose versions are left out.
    """
    bases = _tainted_bases(place, pages, datasets)
    found = [Learner(kind="foundation", name=name, digest=digest) for digest, name in bases.items()]
    for version in _all_versions(place, but):
        inputs = version.inputs
        if inputs.get("base") in bases or inputs.get("dataset") in datasets:
            found.append(Learner(kind="version", name=version.name, digest=version.digest))
    return tuple(found)


def _tainted_bases(place: Place, pages: Set[str], datasets: Set[str]) -> dict[str, str]:
    """Digest -> name of the foundations that learned from these."""
    own: dict[str, str] = {}
    parents: dict[str, str] = {}
    hit: set[str] = set()
    for folder in foundations(place):
        learned = read_learned(folder)
        direct = learned is not None and bool(learned.pages & pages or learned.datasets & datasets)
        if not pages and not datasets:
            continue
        try:
            digest, parent = _base_digests(folder)
        except CopydeskError:
            continue  # a damaged one stops no deletion; `doctor` names it
        own[digest], parents[digest] = folder.name, parent
        if direct:
            hit.add(digest)
    while more := {digest for digest, parent in parents.items() if parent in hit} - hit:
        hit |= more
    return {digest: own[digest] for digest in sorted(hit)}


def _base_digests(folder: Path) -> tuple[str, str]:
    """A foundation's digest as a base, and its parent's."""
    # What makes a base's identity is for `models` to say, which imports torch.
    from copydesk.models import BaseStore

    manifest = open_artifact(folder, verify=False).manifest
    assert manifest is not None
    info = BaseStore(folder.parent).find(str(folder))
    return info.digest, manifest.inputs.get("base", "")


def _all_versions(place: Place, but: str | None) -> Iterator[Version]:
    for row in place.catalogue.clients():
        if row.name == but:
            continue
        try:
            yield from versions(place.catalogue, row.name)
        except CopydeskError:
            continue  # a damaged one stops no deletion; `doctor` names it
