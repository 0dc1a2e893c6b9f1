"""Locks between processes: one file a name, released by the system when its holder dies."""

import contextlib
import datetime
import os
import platform
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout

from copydesk.errors import InUse
from copydesk.store._files import storage_errors


@contextlib.contextmanager
def held(folder: Path, name: str, *, doing: str, forget: bool = False) -> Generator[None]:
    """Hold the lock `name` of a workspace for the length of the block.

    Args:
        folder: where locks lie.
        name: what is locked.
        doing: what for, as the other process is told.
        forget: remove the lock's file at the end, for a name that is no more, unless the block
            raises.

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
            lock.acquire(timeout=0)
    except Timeout as error:
        holder = note.read_text(encoding="utf-8") if note.exists() else "another process"
        raise InUse(
            f"{name} is in use by {holder}", todo="Wait until it ends, then try again."
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


def _forget(file: Path) -> None:
    """Remove the file of a lock that is held.

    Whoever opened it before sees that it has no name any more and makes a new one (filelock looks
    at its link count). Where an open file cannot be removed (Windows) it stays.
    """
    with contextlib.suppress(PermissionError):
        file.unlink(missing_ok=True)
