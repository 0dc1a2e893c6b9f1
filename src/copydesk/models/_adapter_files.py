"""Adapter folders: `adapter_config.json` and `adapter_model.safetensors`, read with suspicion."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from copydesk.errors import Damaged

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration, as it is written.

    Raises:
        Damaged: it is missing or is not a JSON object.
    """
    file = folder / CONFIG
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(f"The adapter cannot be read: {error}", file) from error
    if not isinstance(found, dict):
        raise damaged("The adapter's configuration is not a JSON object", file)
    return found


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The adapter's tensors, on the CPU.

    Raises:
        Damaged: the file cannot be read, or a tensor in it is not finite.
    """
    file = folder / WEIGHTS
    found: dict[str, torch.Tensor] = {}
    try:
        with safe_open(str(file), framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                found[name] = tensors.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise damaged(f"The adapter cannot be read: {error}", file) from error
    for name, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise damaged(f"The adapter's tensor {name} is not finite", file)
    return found


def damaged(what: str, file: Path) -> Damaged:
    """The error for an adapter that cannot be used."""
    return Damaged(what, where=str(file), todo="Train it again.")
