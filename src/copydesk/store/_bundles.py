"""A bundle: one artifact in one file, to be carried to another workspace.

It is an uncompressed tar of regular files: `bundle.json`, a signed record that names the
manifest's hash; `manifest.json`; then `files/NAME` for each file of the manifest, in order. A
bundle is read as if an enemy had made it: nothing is written before the signature is checked, only
names that the manifest lists are written, each once, below one folder, and every byte is counted
and hashed.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from copydesk.errors import Damaged, InvalidInput
from copydesk.store._artifacts import MANIFEST, Manifest, read_manifest
from copydesk.store._files import file_sha256, flush_to_disk, json_bytes, storage_errors
from copydesk.store._signatures import SIGNATURE, Keyring, changed_file, check_record

BUNDLE: Final = "copydesk bundle/1"
_HEAD: Final = "bundle.json"
_FILES: Final = "files/"
_LARGEST_HEAD: Final = 1 << 16
_LARGEST_MANIFEST: Final = 1 << 24
_MOST_FILES: Final = 10_000
LARGEST_BUNDLE: Final = 64 << 30
"""Bytes of all files of a bundle, unless the caller sets another limit."""
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle says of itself, its signature checked, before its files are read."""

    path: Path
    record: Mapping[str, Any]
    """What was signed."""
    key: bytes
    """The public key that it was signed by, whoever that is."""
    manifest: Manifest


def write_bundle(
    folder: Path, manifest: Manifest, file: Path, *, record: Mapping[str, Any], keys: Keyring
) -> None:
    """Pack an artifact whose files were checked. Equal artifacts and keys give equal bytes.

    Args:
        folder: the artifact's.
        manifest: its manifest.
        file: where to; it must not exist.
        record: what to say of it.
        keys: whose key signs.

    Raises:
        NoRoom: the disk is full or may not be written; nothing is left.
        Damaged: a file is not what its manifest says.
    """
    raw = (folder / MANIFEST).read_bytes()
    head = keys.sign(BUNDLE, {**record, "manifest": hashlib.sha256(raw).hexdigest()})
    aside = file.with_name(f".{file.name}.part")
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(aside, "w", format=tarfile.PAX_FORMAT) as tar:
                for name, content in ((_HEAD, json_bytes(head)), (MANIFEST, raw)):
                    tar.addfile(_member(name, len(content)), io.BytesIO(content))
                for name in sorted(manifest.files):
                    path = folder / name
                    with path.open("rb") as source:
                        tar.addfile(_member(_FILES + name, path.stat().st_size), source)
                    if (found := file_sha256(path)) != manifest.files[name]:
                        raise changed_file(path, manifest.files[name], found)
            flush_to_disk(aside)
            aside.rename(file)
            flush_to_disk(file.parent)
        finally:
            aside.unlink(missing_ok=True)


def read_bundle(file: Path, *, most: int = LARGEST_BUNDLE) -> Bundle:
    """What a bundle says of itself. Its signature fits; whether its signer counts is not known yet.

    Raises:
        InvalidInput: it is no bundle, lists impossible names, or is larger than `most` bytes.
        Damaged: it is not what was signed.
    """
    with _opened(file, most) as tar:
        return _read_head(tar, file)


def unpack_bundle(bundle: Bundle, folder: Path, *, most: int = LARGEST_BUNDLE) -> None:
    """Write a bundle's files into a new, empty folder, each checked against its hash.

    Raises:
        InvalidInput: it holds something that it may not.
        Damaged: a file is missing, doubled or not what the manifest says; it is named.
        NoRoom: the disk is full.
    """
    wanted = dict(bundle.manifest.files)
    left = most
    with storage_errors(folder), _opened(bundle.path, most) as tar:
        again = _read_head(tar, bundle.path)
        if again.record != bundle.record:
            raise InvalidInput("The file was changed while it was read", where=str(bundle.path))
        while (member := _next(tar, bundle.path)) is not None:
            name = member.name.removeprefix(_FILES)
            if not member.name.startswith(_FILES) or name not in wanted:
                raise _odd(f"holds {member.name[:80]!r}, which its manifest does not list", bundle)
            expected = wanted.pop(name)
            left -= member.size
            if left < 0:
                raise _odd(f"holds more than {most} bytes", bundle)
            found = _copy(_content(tar, member, bundle.path), folder / name)
            if found != expected:
                raise changed_file(Path(f"{bundle.path}/{name}"), expected, found)
    if wanted:
        raise changed_file(Path(f"{bundle.path}/{min(wanted)}"), wanted[min(wanted)], "nothing")


@contextmanager
def _opened(file: Path, most: int) -> Generator[tarfile.TarFile]:
    """The tar, uncompressed only. What tarfile says of a broken one becomes ours."""
    try:
        if file.stat().st_size > most + _LARGEST_HEAD + _LARGEST_MANIFEST + 2048 * _MOST_FILES:
            raise InvalidInput(f"The bundle is over {most} bytes", where=str(file))
        with tarfile.open(file, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError, UnicodeError, OverflowError) as error:
        raise InvalidInput(f"The file is no bundle: {error}", where=str(file)) from error
    except FileNotFoundError as error:
        raise InvalidInput("There is no such file", where=str(file)) from error
    except IsADirectoryError as error:
        raise InvalidInput("A bundle is a file, not a folder", where=str(file)) from error


def _read_head(tar: tarfile.TarFile, file: Path) -> Bundle:
    parts: dict[str, bytes] = {}
    for name, largest in ((_HEAD, _LARGEST_HEAD), (MANIFEST, _LARGEST_MANIFEST)):
        member = _next(tar, file)
        if member is None or member.name != name or member.size > largest:
            raise InvalidInput(
                f"The file is no bundle: expected {name} of at most {largest} bytes, found "
                f"{'its end' if member is None else repr(member.name[:80])}",
                where=str(file),
            )
        parts[name] = _content(tar, member, file).read(largest)
    record = _json_object(parts[_HEAD], file)
    key = check_record(BUNDLE, record, Path(f"{file}/{_HEAD}"))
    found = hashlib.sha256(parts[MANIFEST]).hexdigest()
    if record.get("manifest") != found:
        raise changed_file(Path(f"{file}/{MANIFEST}"), str(record.get("manifest")), found)
    manifest = read_manifest(parts[MANIFEST], Path(f"{file}/{MANIFEST}"))
    _check_names(manifest, file)
    return Bundle(path=file, record=record, key=key, manifest=manifest)


def _json_object(raw: bytes, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Damaged(f"{_HEAD} is not a record", where=str(file), todo="Ask for it again.")
    return found


def _check_names(manifest: Manifest, file: Path) -> None:
    """Only plain relative paths of plain names, none of them in another's way."""
    names = [*manifest.files]
    if len(names) > _MOST_FILES:
        raise InvalidInput(f"The bundle lists over {_MOST_FILES} files", where=str(file))
    folded = [name.casefold() for name in names]
    for name in names:
        parts = name.split("/")
        above = ["/".join(parts[:at]).casefold() for at in range(1, len(parts))]
        if (
            not isinstance(manifest.files[name], str)  # pyright: ignore[reportUnnecessaryIsInstance]
            or len(parts) > 8
            or not all(_PART.fullmatch(part) for part in parts)
            or name.casefold() in {MANIFEST, SIGNATURE}
            or any(folder in folded for folder in above)
            or folded.count(name.casefold()) > 1
        ):
            raise InvalidInput(
                f"The bundle lists {name[:80]!r}, which cannot be a file of it", where=str(file)
            )


def _next(tar: tarfile.TarFile, file: Path) -> tarfile.TarInfo | None:
    member = tar.next()
    if member is not None and not (member.isreg() and not member.issparse()):
        raise InvalidInput(
            f"The bundle holds {member.name[:80]!r}, which is no plain file", where=str(file)
        )
    return member


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> IO[bytes]:
    content = tar.extractfile(member)
    if content is None:
        raise InvalidInput(f"The bundle's {member.name[:80]!r} has no content", where=str(file))
    return content


def _copy(source: IO[bytes], target: Path) -> str:
    """Write a file and return its SHA-256."""
    found = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        while chunk := source.read(_CHUNK):
            found.update(chunk)
            out.write(chunk)
    return found.hexdigest()


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A file's header, without who, when and where."""
    assert not PurePosixPath(name).is_absolute()
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member


def _odd(what: str, bundle: Bundle) -> InvalidInput:
    return InvalidInput(f"The bundle {what}", where=str(bundle.path))
