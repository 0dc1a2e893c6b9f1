"""Artifacts: rows and folders that belong together, hashes, signatures."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from copydesk.desk._erasing import Receipt
from copydesk.desk._place import FOUNDATIONS, Place
from copydesk.desk.doctor._troubles import BACKUP, REPAIR, SIGN, Case, error, note
from copydesk.errors import AlreadyThere, CopydeskError, Damaged
from copydesk.store import (
    Entry,
    Keyring,
    dead_parts,
    leftovers,
    open_artifact,
    storage_errors,
    strange_files,
    wrong_files,
)

CHECK = "artifacts"
_UNLISTED_KINDS = {"searches"}
"""Shelves of the workspace, not of a client."""
_FOLDER = re.compile(r"[1-9]\d{0,17}")


def listed(place: Place, *, files: bool) -> Iterator[Case]:
    """Everything that the catalogue lists: is it there, whole and signed?"""
    root = place.root.resolve()
    for entry in place.catalogue.listed():
        if not entry.path.resolve().is_relative_to(root / CHECK):
            todo = "Somebody changed the catalogue. Restore it from a backup."
            yield Case(trouble=error(CHECK, f"{_name(entry)} lies outside", entry.path, todo))
        elif not entry.path.is_dir():
            yield _without_folder(place, entry)
        else:
            yield from artifact(
                place.catalogue.keys, entry.path, digest=entry.digest, created=entry.created,
                files=files,
            )  # fmt: skip


def unlisted(place: Place, receipts: tuple[Receipt, ...], *, files: bool) -> Iterator[Case]:
    """Folders on the shelves that no row names."""
    if not (folders := _unlisted(place)):
        return
    # What another process is just adding has its folder before its row: wait until it is through.
    with contextlib.suppress(CopydeskError), place.catalogue.writing():
        pass
    for folder in [folder for folder in folders if folder in _unlisted(place)]:
        client = folder.parent.name
        if any(receipt.is_about(client) for receipt in receipts) and not _known(place, client):
            yield Case(
                trouble=error(CHECK, "It is of a client that was erased", folder, f"Use: {REPAIR}"),
                mend=lambda folder=folder: remove(folder),
                done="It was removed.",
            )
            continue
        problems = list(artifact(place.catalogue.keys, folder, files=files))
        yield from problems
        if any(case.trouble.severity == "error" and case.mend is None for case in problems):
            continue
        yield Case(
            trouble=error(
                CHECK,
                "It is whole, but the catalogue does not list it",
                folder,
                f"A process died before it was listed, or the catalogue was lost. Use: {REPAIR}",
            ),
            mend=lambda folder=folder: _list(place, folder),
            done="It is listed again.",
        )


def of_the_workspace(place: Place, *, files: bool) -> Iterator[Case]:
    """Foundations and imported search results, which belong to no client."""
    shelves = (place.root / FOUNDATIONS, *(place.root / CHECK / kind for kind in _UNLISTED_KINDS))
    for shelf in shelves:
        for file in sorted(shelf.glob("*/manifest.json")):
            if not file.parent.name.startswith("."):
                yield from artifact(place.catalogue.keys, file.parent, files=files)


def unfinished(place: Place) -> Iterator[Case]:
    """What processes left that died while they built something."""
    shelves = {file.parent for file in place.root.glob("*/**/.building-*")}
    for shelf in sorted(shelves):
        for folder in leftovers(shelf):
            yield Case(
                trouble=note(
                    "leftovers", "A process died while it built this", folder, f"Use: {REPAIR}"
                ),
                mend=lambda folder=folder: remove(folder),
                done="It was removed; no row named it.",
            )
    for file in dead_parts(place.root):
        yield Case(
            trouble=note("leftovers", "A process died while it wrote this", file, f"Use: {REPAIR}"),
            mend=lambda file=file: remove(file),
            done="It was removed; the file that it was to replace is as it was.",
        )


def artifact(
    keys: Keyring,
    folder: Path,
    *,
    digest: str | None = None,
    created: str | None = None,
    files: bool = True,
) -> Iterator[Case]:
    """What is wrong with one artifact: its manifest, its signature, its files.

    Args:
        keys: the workspace's.
        folder: the artifact's.
        digest: what the catalogue says of it, where it is listed.
        created: when it was listed.
        files: read every file, and not the manifest alone.
    """
    try:
        made = open_artifact(folder, verify=False)
    except Damaged as wrong:
        yield Case(trouble=error(CHECK, wrong.what, wrong.where or folder, BACKUP))
        return
    manifest = made.manifest
    assert manifest is not None
    whole = True
    if digest is not None and made.digest != digest:
        whole = False
        what = (
            f"{folder.name}'s manifest is not the one that was listed: expected {digest[:12]}, "
            f"found {made.digest[:12]}"
        )
        yield Case(trouble=error(CHECK, what, folder / "manifest.json", BACKUP))
    for name, expected, found in wrong_files(folder, manifest) if files else ():
        whole = False
        what = f"{name} is not what was written: expected {expected[:12]}, found {found[:12]}"
        yield Case(trouble=error(CHECK, what, folder / name, BACKUP))
    for name in strange_files(folder, manifest):
        yield Case(
            trouble=note(
                CHECK, f"{name} is not in the manifest", folder / name, "Find out who put it there."
            )
        )
    yield from _signature(keys, folder, created=created, whole=whole and files)


def _signature(keys: Keyring, folder: Path, *, created: str | None, whole: bool) -> Iterator[Case]:
    try:
        open_artifact(folder, verify=False, keys=keys)
    except Damaged as wrong:
        unsigned = not (folder / "manifest.sig").is_file()
        todo = f"Where it is from before manifests were signed: {SIGN}" if unsigned else BACKUP
        yield Case(
            trouble=error("signatures", wrong.what, wrong.where or folder, todo),
            mend=(lambda: _sign(keys, folder, created)) if unsigned and whole else None,
            done="Its hashes were right, and it was signed.",
        )


def _sign(keys: Keyring, folder: Path, created: str | None) -> None:
    keys.seal(folder, place=folder, created=created)


def remove(folder: Path) -> None:
    """Remove a folder or file."""
    with storage_errors(folder):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)


def _without_folder(place: Place, entry: Entry) -> Case:
    speaks = entry.kind == "versions" and _speaks(place, entry)
    what = f"{_name(entry)} is listed, and its folder is gone"
    if speaks:
        todo = (
            f"It speaks for {entry.client}. Restore the folder from a backup, or promote another "
            "version."
        )
        return Case(trouble=error(CHECK, what, entry.path, todo))
    return Case(
        trouble=error(CHECK, what, entry.path, f"Restore it from a backup, or: {REPAIR}"),
        mend=lambda: place.catalogue.forget(entry),
        done=f"It is not listed any more. Its digest was {entry.digest}.",
    )


def _speaks(place: Place, entry: Entry) -> bool:
    if not place.catalogue.rows("SELECT 1 FROM sqlite_master WHERE name = 'live'"):
        return False  # of a schema from before anything was promoted
    query = "SELECT 1 FROM live WHERE client = ? AND number = ?"
    return bool(place.catalogue.rows(query, entry.client, entry.number))


def _unlisted(place: Place) -> list[Path]:
    known = {entry.path for entry in place.catalogue.listed()}
    found = [
        folder
        for folder in (place.root / CHECK).glob("*/*/*")
        if folder.is_dir()
        and _FOLDER.fullmatch(folder.name)
        and folder.parent.parent.name not in _UNLISTED_KINDS
        and not folder.parent.name.startswith(".")
        and folder not in known
    ]
    return sorted(found, key=lambda folder: (folder.parent.as_posix(), int(folder.name)))


def _list(place: Place, folder: Path) -> None:
    made = open_artifact(folder, keys=place.catalogue.keys)
    created = place.catalogue.keys.check_seal(folder, (folder / "manifest.json").read_bytes())
    kind, client = folder.parent.parent.name, folder.parent.name
    with contextlib.suppress(AlreadyThere):
        place.catalogue.relist(
            Entry(
                kind=kind,
                client=client,
                number=int(folder.name),
                path=folder,
                digest=made.digest,
                created=created,
            )
        )


def _known(place: Place, client: str) -> bool:
    return any(row.name == client for row in place.catalogue.clients())


def _name(entry: Entry) -> str:
    return f"{entry.kind} {entry.client}/{entry.number}"
