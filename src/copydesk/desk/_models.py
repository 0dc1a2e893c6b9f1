"""Bases and versions, loaded, handed out and exported."""

import dataclasses
import shutil
from pathlib import Path

import torch

from copydesk.desk._place import FOUNDATIONS, Place
from copydesk.errors import AlreadyThere, InvalidInput
from copydesk.models import (
    BaseInfo,
    BaseStore,
    Quantisation,
    Tuned,
    default_cache,
    find_method,
    load_adapter,
    load_base,
    merge,
    merge_quantised,
    pick_device,
    untuned,
)
from copydesk.registry import Version, find_version
from copydesk.store import json_bytes, open_artifact, storage_errors

_OURS = ("manifest.json", "manifest.sig", "metrics.jsonl")


def workspace_base(workspace: Place) -> BaseInfo:
    """The base that the workspace names: a foundation of its own, or one that was pulled."""
    own = workspace.root / FOUNDATIONS / workspace.config.base
    ref = str(own) if own.is_dir() else workspace.config.base
    return BaseStore(default_cache()).find(ref)


def load_version(workspace: Place, version: Version, attention: str | None = None) -> Tuned:
    """A version's model, checked against its signed hashes and loaded for generation.

    With `models.ATTENTION` it is loaded to score packed examples.
    """
    open_artifact(version.path, keys=workspace.catalogue.keys)
    device = pick_device()
    method, dtype = find_method(version.method), version_dtype(version)
    if method.leaves == "base":
        info = BaseInfo(name=version.name, path=version.path, digest=version.digest, bytes=0)
        return untuned(load_base(info, device=device, dtype=dtype, attention=attention))
    base = load_base(
        workspace_base(workspace),
        device=device,
        dtype=dtype,
        attention=attention,
        quantisation=version_quantisation(version),
    )
    return load_adapter(base, version.path, bound_to=version.inputs["base"])


def export_version(workspace: Place, ref: str, *, to: str, folder: Path) -> Path:
    """Copy a version out as `peft` or `merged`; the folder must not exist yet.

    A QLoRA adapter is merged into the dequantised base: those are the weights it was trained
    beside, and every held-out loss it reports was measured with. `export.json` says so.
    """
    version = find_version(workspace.catalogue, ref)
    if folder.exists():
        raise AlreadyThere("The folder exists", where=str(folder), todo="Name a new one.")
    _check_form(version, to)
    leaves = find_method(version.method).leaves
    open_artifact(version.path, keys=workspace.catalogue.keys)
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


def _check_form(version: Version, to: str) -> None:
    """Raise InvalidInput where a version cannot leave in the wanted form."""
    method = find_method(version.method)
    forms = {
        "peft": method.leaves == "adapter" and "peft" in method.engines,
        "merged": method.merges,
    }
    if forms.get(to, False):
        return
    possible = [f"--to {form}" for form, can in forms.items() if can]
    # What neither loads in PEFT nor merges is served by Copydesk alone, from where it lies.
    todo = f"Use {' or '.join(possible)}." if possible else f"Its folder is {version.path}."
    why = " do not merge into a base" if to == "merged" else f" have no form {to!r}"
    raise InvalidInput(
        f"{version.name} cannot be exported as {to!r}: versions by {method.label}{why}", todo=todo
    )


def _write_merged(workspace: Place, version: Version, folder: Path) -> None:
    """Merge in float32, whatever the machine trains in: the sum is rounded once."""
    info, device = workspace_base(workspace), torch.device("cpu")
    quantisation = version_quantisation(version)
    bound_to = version.inputs["base"]
    if quantisation is None:
        base = load_base(info, device=device, dtype=torch.float32)
        base.model = merge(load_adapter(base, version.path, bound_to=bound_to))
        into = "original"
    else:
        into = "dequantised"
        base = merge_quantised(
            info,
            version.path,
            bound_to=bound_to,
            quantisation=quantisation,
            dtype=trained_dtype(version),
            into=into,
            device=device,
        )
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    record = {"version": version.name, "method": version.method, "base": bound_to}
    (folder / "export.json").write_bytes(json_bytes(record | {"merged_into": into}))


def version_quantisation(version: Version) -> Quantisation | None:
    """How the version's base was held in training."""
    method = find_method(version.method)
    own = {field.name for field in dataclasses.fields(method.settings)}
    stated = version.facts["settings"]
    return method.quantisation(
        method.settings(**{key: value for key, value in stated.items() if key in own})
    )


def version_dtype(version: Version) -> torch.dtype:
    """The number format that a version is used in."""
    if version_quantisation(version) is not None:
        # The weights that 4 bits stand for follow from the format before.
        return trained_dtype(version)
    return find_method(version.method).dtype("auto", pick_device())


def trained_dtype(version: Version) -> torch.dtype:
    """The number format that its base was trained in."""
    return getattr(torch, version.facts["dtype"])
