"""Which device and number format a model is held in."""

import functools
import hashlib
import logging
import platform
import time
from pathlib import Path

import torch

from copydesk.errors import CopydeskError, InvalidInput
from copydesk.store import default_cache, json_bytes, read_json, replace_bytes

_LOG = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_CPU_INFO = Path("/proc/cpuinfo")
_MARGIN = 1.2
"""How many times faster bfloat16 must be; below, float32's precision is worth more."""


def pick_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The number format of frozen weights: `float32`, `bfloat16`, or `auto`.

    `auto` is bfloat16 where the device multiplies it faster than float32, else float32. A CPU is
    timed for it once, and the answer kept in the user's cache, so that a run that goes on in
    another process finds the same: emulated bfloat16 (AVX2 only) is many times slower, native
    (AVX-512 BF16, AMX) faster. benchmarks/matrix_rate.py prints both.

    Raises:
        InvalidInput: another word.
    """
    if wanted == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        return torch.bfloat16 if _bf16_is_faster(default_cache()) else torch.float32
    if wanted not in _DTYPES:
        raise InvalidInput(
            f"dtype is {wanted!r}", todo="Use auto, float32 or bfloat16.", where="settings"
        )
    return _DTYPES[wanted]


@functools.cache
def _bf16_is_faster(cache: Path) -> bool:
    """What was found on this machine before, or is now."""
    file = cache / "machine" / f"{_machine()}.json"
    try:
        kept = read_json(file)["bfloat16_is_faster"] if file.exists() else None
    except (CopydeskError, KeyError, TypeError):
        kept = None
    if isinstance(kept, bool):
        return kept
    faster = _best_seconds(torch.bfloat16) * _MARGIN < _best_seconds(torch.float32)
    try:
        replace_bytes(file, json_bytes({"bfloat16_is_faster": faster}))
    except CopydeskError as error:
        _LOG.warning("How fast this machine multiplies bfloat16 could not be kept: %s", error)
    return faster


def _machine() -> str:
    """Tells processors and torch builds apart: a cache folder may be shared by machines."""
    lines = [platform.machine(), platform.processor(), torch.__version__]
    if _CPU_INFO.is_file():
        found = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
        lines += [line for line in found if line.startswith(("model name", "flags", "Features"))][
            :2
        ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _best_seconds(dtype: torch.dtype) -> float:
    x, w = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
    seconds: list[float] = []
    for _ in range(8):
        start = time.perf_counter()
        torch.nn.functional.linear(x, w)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
