"""SQLite's errors as ours, with what to do about each."""

import contextlib
import shutil
import sqlite3
from collections.abc import Generator
from pathlib import Path

from copydesk.errors import CopydeskError, Damaged, InUse, NoRoom

WAIT_SECONDS = 30.0
"""For another process to let go of the catalogue."""
_UNWRITTEN = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
"""The latter two are of the shared memory beside the file, made by whoever opens it first."""


@contextlib.contextmanager
def database_errors(file: Path) -> Generator[None]:
    """Turn SQLite's errors into ours; a broken constraint is the caller's to explain."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise _explained(error, file) from error


def _explained(error: sqlite3.DatabaseError, file: Path) -> CopydeskError:
    where = str(file)
    code = result_code(error)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(file)):
        return NoRoom(
            "The disk is full; nothing was changed",
            where=where,
            todo="Free some space and run the same command again.",
        )
    if getattr(error, "sqlite_errorcode", 0) in _UNWRITTEN:
        return NoRoom(
            f"The catalogue could not be written ({error}); nothing was changed",
            where=where,
            todo="Check the disk and the limits on file sizes, then run the same command again.",
        )
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return NoRoom(
            "The catalogue may not be written",
            where=where,
            todo="Check the folder's permissions, or choose another workspace.",
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return InUse(
            f"Another process has kept the catalogue busy for {WAIT_SECONDS:.0f} seconds",
            where=where,
            todo="Wait until it ends, then try again.",
        )
    return Damaged(
        f"The catalogue cannot be used: {error}",
        where=where,
        todo="See what can be saved: copydesk doctor --repair; or restore it from a backup.",
    )


def result_code(error: sqlite3.Error) -> int:
    """SQLite's result code, without its finer distinctions."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_full(file: Path) -> bool:
    return shutil.disk_usage(file.parent).free < 1 << 16
