"""A workspace whose gates are quick to ask, for the tests of versions."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

import copydesk
from copydesk import Workspace
from copydesk.registry import Version, add_version, find_version
from copydesk.store import Artifact

QUICK = {"max_steps": 2, "max_length": 512, "dtype": "float32"}
LOOSE = {
    "heldout_gain": -10,
    "live_loss": 10,
    "train_gap": 20,
    "forgetting": 20,
    "instructions_lost": 1,
    "diagonal": -10,
    "own_gain": -10,
    "memorised": 1,
    "voice_gain": -1,
    "live_voice": 1,
    "findings": 100,
}
"""Thresholds that any trained version meets: what is left are faults."""
SMALL = {
    "pages": 6,
    "other_pages": 3,
    "asked_pages": 2,
    "briefs": 2,
    "lessons": 2,
    "draft_words": 100,
}


def set_config(root: Path, base: Path | str, gates: dict[str, Any], canary: str = "") -> None:
    """Write `copydesk.toml`."""
    lines = [f'base = "{base}"', "[gates]"]
    lines += [f"{key} = {value}" for key, value in {**SMALL, **gates}.items()]
    (root / "copydesk.toml").write_text("\n".join(lines) + f"\n{canary}\n", encoding="utf-8")


def gated_workspace(root: Path, base: Path, samples: Path) -> Workspace:
    """Fernwick with two versions, moonmilk with one, and loose gates."""
    copydesk.init(root).close()
    set_config(root, base, LOOSE)
    workspace = copydesk.open(root)
    for name in ("fernwick", "moonmilk"):
        workspace.add_client(name, style_guide=samples / name / "style_guide.toml")
        workspace.curate(name, [samples / name / "posts.jsonl"])
    first = workspace.train(["fernwick", "moonmilk"], settings=QUICK, method="lora")
    second = workspace.train(["fernwick"], settings={**QUICK, "max_steps": 4}, method="lora")
    assert not first.failed and not second.failed
    return workspace


def forged(
    workspace: Workspace,
    ref: str,
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda tensors: tensors,
    *,
    client: str | None = None,
    inputs: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
) -> Version:
    """A new version that is an older one with something changed, hashed as if it were honest."""
    version = find_version(workspace.catalogue, ref)

    def fill(artifact: Artifact) -> None:
        shutil.copytree(version.path, artifact.path, dirs_exist_ok=True)
        for name in ("manifest.json", "manifest.sig"):
            (artifact.path / name).unlink()
        file = artifact.path / "adapter_model.safetensors"
        save_file(change(load_file(file)), file)
        if config is not None:
            path = artifact.path / "adapter_config.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
        artifact.facts.update(version.facts)

    return add_version(
        workspace.catalogue,
        client or version.client,
        {**version.inputs, **(inputs or {})},
        fill,
    )
