"""Artifacts: a folder and its `manifest.json`, there whole or not at all."""

import contextlib
import datetime
import json
import os
import shutil
import uuid
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from copydesk.errors import AlreadyThere, Damaged
from copydesk.store._files import (
    file_sha256,
    flush_to_disk,
    is_running,
    json_bytes,
    json_digest,
    storage_errors,
)
from copydesk.store._signatures import SIGNATURE, Keyring, changed_file

MANIFEST = "manifest.json"
LEFTOVER = ".building-"
"""How the name of an unfinished artifact starts; its builder's process number follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact is and what it came from."""

    kind: str
    created: str
    inputs: Mapping[str, str]
    """Name -> digest of each thing that it was made from."""
    facts: Mapping[str, Any]
    """JSON values that say how: settings, scores, counts."""
    files: Mapping[str, str]
    """Path inside the folder -> SHA-256."""

    @property
    def digest(self) -> str:
        """Identity of the content: kind, inputs and files; not the time it was made."""
        return json_digest({"kind": self.kind, "inputs": self.inputs, "files": self.files})


@dataclass(slots=True, kw_only=True)
class Artifact:
    """An artifact's folder, while it is built (`manifest` None) or once it is in place."""

    path: Path
    manifest: Manifest | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """Facts to put into the manifest; add to it while building."""

    @property
    def digest(self) -> str:
        """The digest of a finished artifact."""
        assert self.manifest is not None, "the artifact is still being built"
        return self.manifest.digest


@contextlib.contextmanager
def building(
    target: Path,
    *,
    kind: str,
    inputs: Mapping[str, str],
    keys: Keyring | None = None,
    flush: bool = True,
) -> Generator[Artifact]:
    """Build an artifact: write into `artifact.path`; at the end it is hashed and moved to `target`.

    With `keys` its manifest is signed; `target` is then the artifact's last place. Without `flush`
    names are not flushed to disk, for callers that move the artifact again and flush then.

    When the block raises, what was written is removed. A process killed inside the block leaves a
    folder whose name starts with `.building-`, which nothing reads and the next build beside it
    removes.

    Raises:
        AlreadyThere: `target` exists.
        NoRoom: the disk is full or may not be written.
    """
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        aside = target.parent / f"{LEFTOVER}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        aside.mkdir()
        artifact = Artifact(path=aside)
        try:
            yield artifact
            artifact.manifest = _seal(aside, kind=kind, inputs=inputs, facts=artifact.facts)
            if keys is not None:
                keys.seal(aside, place=target)
            if flush:
                flush_to_disk(aside)
            if target.exists():
                raise AlreadyThere(f"{target.name} exists already", where=str(target))
            aside.rename(target)
            if flush:
                flush_to_disk(target.parent)
            artifact.path = target
        finally:
            if aside.exists():
                shutil.rmtree(aside, ignore_errors=True)


def open_artifact(path: Path, *, verify: bool = True, keys: Keyring | None = None) -> Artifact:
    """Open a finished artifact and, unless told otherwise, check every file against its hash.

    Args:
        path: its folder.
        verify: read every file. False looks at the manifest alone.
        keys: also check the manifest's signature, which takes no reading of files.

    Raises:
        Damaged: the manifest is missing or not what was signed, or a file is missing, differs or
            was not there; names the file, what was expected and what was found.
    """
    raw = _manifest_bytes(path / MANIFEST)
    manifest = read_manifest(raw, path / MANIFEST)
    if keys is not None:
        keys.check_seal(path, raw)
    if verify:
        for file, expected, found in wrong_files(path, manifest):
            raise changed_file(path / file, expected, found)
    return Artifact(path=path, manifest=manifest)


def wrong_files(path: Path, manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """Each file that does not match its hash: its path inside the folder, expected, found."""
    for name, expected in manifest.files.items():
        file = path / name
        found = file_sha256(file) if file.is_file() else "nothing"
        if found != expected:
            yield name, expected, found


def strange_files(path: Path, manifest: Manifest) -> list[str]:
    """Files in an artifact's folder that its manifest does not name."""
    known = {MANIFEST, SIGNATURE, *manifest.files}
    found = (file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir())
    return sorted(name for name in found if name not in known)


def read_manifest(raw: bytes, path: Path) -> Manifest:
    """A manifest from its bytes; `path` names it in errors.

    Raises:
        Damaged: it is none.
    """
    try:
        read = json.loads(raw)
    except (ValueError, RecursionError):
        read = None
    kinds = {"kind": str, "created": str, "inputs": dict, "facts": dict, "files": dict}
    if not isinstance(read, dict) or any(
        not isinstance(read.get(key), kind) for key, kind in kinds.items()
    ):
        raise Damaged(
            f"{path.name} is not a manifest",
            where=str(path),
            todo="Restore it from a backup, or make it again.",
        )
    return Manifest(**{key: read[key] for key in kinds})


def _manifest_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Damaged(
            f"{path.name} cannot be read: {error}",
            where=str(path),
            todo="Restore it from a backup, or make it again.",
        ) from error


def _seal(
    folder: Path, *, kind: str, inputs: Mapping[str, str], facts: Mapping[str, Any]
) -> Manifest:
    files: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            files[file.relative_to(folder).as_posix()] = file_sha256(file)
            flush_to_disk(file)
    manifest = Manifest(
        kind=kind,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        inputs=dict(inputs),
        facts=dict(facts),
        files=files,
    )
    path = folder / MANIFEST
    path.write_bytes(json_bytes(asdict(manifest)))
    flush_to_disk(path)
    return manifest


def remove_leftovers(parent: Path) -> None:
    """Remove folders that processes which are no longer running left while building."""
    for folder in leftovers(parent):
        shutil.rmtree(folder, ignore_errors=True)


def leftovers(parent: Path) -> list[Path]:
    """Unfinished artifacts in a folder whose builders are no longer running."""
    found: list[Path] = []
    for folder in parent.glob(f"{LEFTOVER}*"):
        owner = folder.name.split("-")[1]
        if owner.isdecimal() and not is_running(int(owner)):
            found.append(folder)
    return sorted(found)
