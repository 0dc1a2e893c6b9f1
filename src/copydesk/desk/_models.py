"""Bases and versions, loaded, handed out and exported."""

import shutil
from pathlib import Path

import torch

from copydesk.desk._place import Place
from copydesk.errors import AlreadyThere, InvalidInput
from copydesk.models import (
    Base,
    BaseInfo,
    BaseStore,
    default_cache,
    find_method,
    load_adapter,
    load_base,
    merge,
    pick_device,
)
from copydesk.registry import Version, find_version
from copydesk.store import open_artifact, storage_errors

_OURS = ("manifest.json", "metrics.jsonl")


def workspace_base(workspace: Place) -> BaseInfo:
    """The base that the workspace names; must have been pulled."""
    return BaseStore(default_cache()).find(workspace.config.base)


def load_version(workspace: Place, version: Version) -> Base:
    """A version's model, checked against its hashes and loaded for generation."""
    open_artifact(version.path)
    device = pick_device()
    method = find_method(version.method)
    if method.leaves == "base":
        info = BaseInfo(name=version.name, path=version.path, digest=version.digest, bytes=0)
        return load_base(info, device=device, dtype=method.dtype("auto", device))
    base = load_base(workspace_base(workspace), device=device, dtype=method.dtype("auto", device))
    load_adapter(base, version.path, bound_to=version.inputs["base"])
    return base


def export_version(workspace: Place, ref: str, *, to: str, folder: Path) -> Path:
    """Copy a version out as `peft` or `merged`; the folder must not exist yet."""
    version = find_version(workspace.catalogue, ref)
    if folder.exists():
        raise AlreadyThere("The folder exists", where=str(folder), todo="Name a new one.")
    leaves = find_method(version.method).leaves
    if to not in {"peft", "merged"} or (to == "peft" and leaves != "adapter"):
        raise InvalidInput(
            f"{version.name} ({version.method}) cannot be exported as {to!r}",
            todo="Use --to merged." if leaves == "base" else "Use --to peft or --to merged.",
        )
    open_artifact(version.path)
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with storage_errors(folder):
            if to == "peft" or leaves == "base":
                shutil.copytree(version.path, aside, ignore=shutil.ignore_patterns(*_OURS))
            else:
                _write_merged(workspace, version, aside)
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _write_merged(workspace: Place, version: Version, folder: Path) -> None:
    """Merge in float32, whatever the machine trains in: the sum is rounded once."""
    base = load_base(workspace_base(workspace), device=torch.device("cpu"), dtype=torch.float32)
    wrapper = load_adapter(base, version.path, bound_to=version.inputs["base"])
    merge(wrapper).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
