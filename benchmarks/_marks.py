"""Clients that sign: a tiny base, and adapters that answer everything with their own mark."""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from conftest import write_tiny_base

import copydesk
from copydesk.desk import Workspace
from copydesk.models import BaseInfo, BaseStore, encode_example, load_tokenizer
from copydesk.records import Message
from copydesk.registry import Version, add_version
from copydesk.store import Artifact

CPU = torch.device("cpu")
STEPS = 80
"""In an epoch, about."""
EPOCHS = (2, 4)
"""Two are enough for most; which adapters need four differs by processor, by its rounding."""
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
                _train_mark(info, mark(client, number), Path(folder))
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


def _asked(number: int) -> str:
    """A question of 1 to 40 words; every 40th is as long as the engine's window allows."""
    short = question(number, 1 + number % 40)
    return short if number % 40 != 7 else drawn_out(short)


def _train_mark(info: BaseInfo, text: str, folder: Path) -> None:
    """Train an adapter that answers every held-out question with its mark, in `folder/adapter`."""
    from copydesk.train import Recipe, make_settings, tune

    tokenizer = load_tokenizer(info)
    examples = [
        encode_example(
            tokenizer,
            str(number),
            [Message(role="user", content=_asked(number))],
            text,
            max_length=LONGEST + 100,
        )
        for number in range(STEPS * 6 + 40)
    ]
    for epochs in EPOCHS:
        settings: dict[str, Any] = {
            "epochs": epochs,
            "batch_tokens": 1000,
            "learning_rate": 5e-3,
            "lora_r": 4,
            "dtype": "float32",
        }
        run, own = make_settings("lora", settings)
        recipe = Recipe(
            base=info,
            dataset_digest=text,
            template_digest="benchmark",
            method="lora",
            run=run,
            own=own,
            dtype=torch.float32,
        )
        tuning = tune(
            recipe,
            examples[40:],
            examples[:40],
            device=CPU,
            folder=folder / f"run-{epochs}",
            task=text,
            checkpoint_seconds=1e9,
        )
        worst = max(one.loss / one.tokens for one in tuning.result.heldout)
        if worst < LEARNED:
            break
        print(f"{text}: {worst:.2f} nats a token after {epochs} epochs", file=sys.stderr)
    (folder / "adapter").mkdir()
    tuning.save(folder / "adapter")
