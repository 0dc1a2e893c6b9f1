"""Locks between processes: one file a name, released by the system when its holder dies."""

import contextlib
import datetime
import os
import platform
import uuid
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout

from copydesk.errors import InUse
from copydesk.store._files import storage_errors

_BLINK = 0.2
_LONGEST_LOOK = 10.0
_USER = ".user-"
"""Between the name of what is shared and who shares it."""


@contextlib.contextmanager
def held(
    folder: Path, name: str, *, doing: str, forget: bool = False, wait: float = _BLINK
) -> Generator[None]:
    """Hold the lock `name` of a workspace for the length of the block.

    Args:
        folder: where locks lie.
        name: what is locked.
        doing: what for, as the other process is told.
        forget: remove the lock's file at the end, for a name that is no more, unless the block
            raises.
        wait: seconds to wait for it. Who only looks whether it is held (`holder_of`) holds it for a
            moment, which is not to be taken for use.

    Raises:
        InUse: another process holds it; the message says which, what it does, on which host and
            since when.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    note = folder / f"{name}.holder"
    try:
        with storage_errors(folder):
            lock.acquire(timeout=wait, poll_interval=_BLINK / 20)
    except Timeout as error:
        raise InUse(
            f"{name} is in use by {_told(note)}", todo="Wait until it ends, then try again."
        ) from error
    try:
        with storage_errors(note):
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            host = platform.node() or "this machine"
            note.write_text(
                f"process {os.getpid()}, which {doing}, on {host} since {now}", encoding="utf-8"
            )
        yield
        if forget:
            _forget(folder / f"{name}.lock")
    finally:
        note.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def shared(folder: Path, name: str, *, doing: str) -> Generator[None]:
    """Use what `name` stands for beside others who do; `users` tells whoever wants it alone.

    Args:
        folder: where locks lie.
        name: what is used.
        doing: what for, as others are told.
    """
    own = f"{name}{_USER}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with held(folder, own, doing=doing, forget=True, wait=_LONGEST_LOOK):
        yield


def users(folder: Path, name: str) -> list[str]:
    """Who shares `name` now; what users that died have left is removed."""
    return [
        holder
        for file in sorted(folder.glob(f"{name}{_USER}*.lock"))
        if (holder := holder_of(folder, file.name.removesuffix(".lock"))) is not None
    ]


def holder_of(folder: Path, name: str, *, tidy: bool = True) -> str | None:
    """Who holds a lock; None where nobody does.

    With `tidy` the note, or the file of a user, that one who died has left is then removed.

    Raises:
        NoRoom: the folder may not be written, so that nothing can be locked in it.
    """
    file, note = folder / f"{name}.lock", folder / f"{name}.holder"
    lock = FileLock(file)
    try:
        with storage_errors(folder):
            lock.acquire(timeout=0)
    except Timeout:
        return _told(note)
    try:
        if tidy:
            note.unlink(missing_ok=True)
            if _USER in name:
                _forget(file)
    finally:
        lock.release()
    return None


def _told(note: Path) -> str:
    """What a holder says of itself; it may not have come to that yet, or be gone again."""
    try:
        return note.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"


def _forget(file: Path) -> None:
    """Remove the file of a lock that is held.

    Whoever opened it before sees that it has no name any more and makes a new one (filelock looks
    at its link count). Where an open file cannot be removed (Windows) it stays.
    """
    with contextlib.suppress(PermissionError):
        file.unlink(missing_ok=True)
