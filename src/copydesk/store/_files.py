"""Small file operations that survive a crash: write aside, flush to disk, move into place."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from copydesk.errors import Damaged, NoRoom

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextlib.contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Turn a full disk or a read-only folder into `NoRoom`, naming `path`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, NoRoom | Damaged):
            raise
        if error.errno in _FULL:
            raise NoRoom(
                "The disk is full; nothing was changed",
                where=str(path),
                todo="Free some space and run the same command again.",
            ) from error
        if error.errno in _FORBIDDEN:
            raise NoRoom(
                "The folder may not be written",
                where=str(path),
                todo="Check its permissions, or choose another workspace.",
            ) from error
        raise


def flush_to_disk(path: Path) -> None:
    """fsync a file or a folder (where the platform can open folders)."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EBADF}:
            raise
    finally:
        os.close(handle)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old bytes or the new, never a part.

    Raises:
        NoRoom: the disk is full or may not be written; the old file is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        flush_to_disk(path.parent)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line to a log of metrics."""
    with storage_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, sort_keys=True) + "\n")


def json_bytes(value: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def json_digest(value: object) -> str:
    """SHA-256 of the canonical JSON of `value`, in hexadecimal."""
    return hashlib.sha256(json_bytes(value)).hexdigest()


def read_json(path: Path) -> Any:
    """Parse a JSON file that Copydesk wrote.

    Raises:
        Damaged: it is not there or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(
            f"{path.name} cannot be read: {error}",
            where=str(path),
            todo="Restore it from a backup, or make it again.",
        ) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(path: Path) -> int:
    """Bytes of all files below `path`."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
