"""Small file operations that survive a crash: write aside, flush to disk, move into place."""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import platformdirs
from safetensors import SafetensorError

from copydesk.errors import CopydeskError, Damaged, InvalidInput, NoRoom

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No room: on the disk, in the user's quota, or under the largest file size that is allowed."""
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_OWNER = re.compile(r"\.(\d{1,10})(?:-[0-9a-f]+)?\.part$")
"""At the end of the name of a file that is being written: its writer's process number."""
_NO_PATH = {errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}


def default_cache() -> Path:
    """The user's cache folder for bases, downloads and what was compiled."""
    return Path(platformdirs.user_cache_dir("copydesk", appauthor=False))


@contextlib.contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Turn what the system says of `path` into our errors, which name it.

    Raises:
        NoRoom: the disk is full, or the folder is read-only.
        InvalidInput: there can be no such path: it leads through a file, or is too long.
    """
    try:
        yield
    except CopydeskError:
        raise
    except (OSError, SafetensorError) as error:
        number = _system_error(error)
        if number in _FULL:
            raise NoRoom(
                "The disk is full; nothing was changed",
                where=str(path),
                todo="Free some space and run the same command again.",
            ) from error
        if number in _FORBIDDEN:
            raise NoRoom(
                "The folder may not be written",
                where=str(path),
                todo="Check its permissions, or choose another workspace.",
            ) from error
        if number in _NO_PATH:
            raise InvalidInput(
                f"The path cannot be used: {os.strerror(number)}",
                where=str(path),
                todo="Name another place.",
            ) from error
        raise


def _system_error(error: OSError | SafetensorError) -> int:
    """The system's number of an error, which safetensors tells in its text only; 0 for none."""
    if isinstance(error, OSError):
        return error.errno or 0
    told = re.search(r"os error (\d+)", str(error))
    return int(told[1]) if told else 0


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
        _remove_parts(path)
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        flush_to_disk(path.parent)


def _remove_parts(path: Path) -> None:
    """Remove what processes left that died while they replaced `path`."""
    start = f".{path.name}."
    for part in path.parent.glob(".*.part"):
        owner = part.name.removeprefix(start).removesuffix(".part")
        if part.name.startswith(start) and owner.isdecimal() and not is_running(int(owner)):
            part.unlink(missing_ok=True)


def dead_parts(folder: Path) -> list[Path]:
    """Files anywhere below `folder` that processes left which died while they wrote them."""
    found: list[Path] = []
    for part in folder.rglob(".*.part"):
        owner = _OWNER.search(part.name)
        if owner and part.is_file() and not is_running(int(owner[1])):
            found.append(part)
    return sorted(found)


def is_running(process: int) -> bool:
    """Whether a process of that id is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
