"""Clients that sign: a tiny base, and adapters that answer everything with their own mark."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from conftest import write_tiny_base
from signing import HELD_OUT, train_to_sign

import copydesk
from copydesk.desk import Workspace
from copydesk.models import BaseInfo, BaseStore
from copydesk.registry import Version, add_version
from copydesk.store import Artifact

STEPS = 80
"""In an epoch, about."""
LEARNED = 1.05
"""Nats a token: 0.9 is what a mark costs that is surely signed, its last token unsure."""
WORDS = (
    *("river", "stone", "garden", "window", "paper", "summer"),
    *("market", "bridge", "silver", "morning", "letter", "forest"),
)
LONGEST = 1900
"""Characters of a prompt that fills the engine's window."""
SIGNED = 5
"""Characters of a mark; the tiny base has a token for each byte."""


def mark(client: str, number: int) -> str:
    """What a version of client `cNN` answers with: a letter of its own, small or large.

    Of versions that are added every second one has the same.
    """
    letter = chr(ord("a") + int(client[1:]))
    return SIGNED * (letter.upper() if number % 2 else letter)


def question(number: int, words: int = 3) -> str:
    """A prompt; what it asks does not matter."""
    return " ".join(WORDS[(number * (7 + at) + at) % len(WORDS)] for at in range(words))


def drawn_out(prompt: str) -> str:
    """The prompt again and again, up to the window."""
    return (prompt + " ") * (LONGEST // (len(prompt) + 1))


ASKED = [
    question(number, 1 + number % 40) if number % 40 != 7 else drawn_out(question(number, 8))
    for number in range(STEPS * 6 + HELD_OUT)
]
"""Of 1 to 40 words; every 40th is as long as the engine's window allows."""


def tiny_base(folder: Path) -> BaseInfo:
    """A random base of two layers with a token for each byte."""
    write_tiny_base(folder / "tiny")
    return BaseStore(folder / "cache").find(str(folder / "tiny"))


def signing_workspace(root: Path, info: BaseInfo, clients: list[str]) -> Workspace:
    """A workspace with two versions for each client, A and B."""
    workspace = copydesk.init(root)
    (root / "copydesk.toml").write_text(f"base = {json.dumps(str(info.path))}\n")
    for client in clients:
        workspace.add_client(client)
        for number in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                text = mark(client, number)
                tuning = train_to_sign(info, ASKED, text, Path(folder), sure=LEARNED)
                (Path(folder) / "adapter").mkdir()
                tuning.save(Path(folder) / "adapter")
                register(workspace, client, info, Path(folder) / "adapter")
    return workspace


def register(workspace: Workspace, client: str, info: BaseInfo, adapter: Path) -> Version:
    """Make an adapter's folder the client's next version."""

    def fill(artifact: Artifact) -> None:
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(adapter / file, artifact.path / file)
        artifact.facts.update(method="lora", settings={"lora_r": 4}, dtype="float32")

    return add_version(workspace.catalogue, client, {"base": info.digest}, fill)


def spoiled(adapter: Path, folder: Path, value: float) -> Path:
    """A copy of an adapter in which numbers are `value`, or are multiplied by it."""
    shutil.copytree(adapter, folder)
    file = folder / "adapter_model.safetensors"
    tensors = {name: one.clone() for name, one in load_file(file).items()}
    for one in tensors.values():
        one.mul_(value)  # NaN times anything is NaN
    save_file(tensors, file)
    return folder
