"""Load a base into memory, on a device and in a number format that suits the machine."""

import ctypes
import functools
import gc
import time
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from copydesk.errors import InvalidInput, OutOfMemory
from copydesk.models import _attention
from copydesk.models._bases import BaseInfo
from copydesk.models._quiet import quiet

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(slots=True, kw_only=True)
class Base:
    """A base in memory. All weights are frozen until a method says otherwise."""

    info: BaseInfo
    model: PreTrainedModel
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype


def load_base(
    info: BaseInfo, *, device: torch.device, dtype: torch.dtype, attention: str = "sdpa"
) -> Base:
    """Load a base's weights and tokenizer.

    Args:
        info: from `BaseStore.find`.
        device: where the weights go.
        dtype: of the weights.
        attention: `models.ATTENTION` for packed batches, `sdpa` for generation.

    Raises:
        InvalidInput: the folder holds no causal language model that transformers knows.
        OutOfMemory: the weights do not fit.
    """
    _attention.register()
    try:
        with quiet():
            model: Any = AutoModelForCausalLM.from_pretrained(
                info.path,
                dtype=dtype,
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
            tokenizer = AutoTokenizer.from_pretrained(
                info.path, local_files_only=True, trust_remote_code=False
            )
        model.to(device)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"The base {info.name} does not fit into memory as {dtype}",
            todo="Choose a smaller base, or set dtype=bfloat16.",
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"The base {info.name} cannot be loaded: {str(error).splitlines()[0]}",
            where=str(info.path),
            todo="It needs config.json, model.safetensors and tokenizer.json.",
        ) from error
    model.requires_grad_(False)
    model.eval()
    return Base(info=info, model=model, tokenizer=tokenizer, device=device, dtype=dtype)


def pick_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The number format of frozen weights: `float32`, `bfloat16`, or `auto`.

    `auto` is bfloat16 where the device multiplies it faster than float32, else float32. On a CPU
    that is timed once a process: emulated bfloat16 (AVX2 only) is many times slower, native
    (AVX-512 BF16, AMX) faster. benchmarks/matrix_rate.py prints both.

    Raises:
        InvalidInput: another word.
    """
    if wanted == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        return torch.bfloat16 if _bf16_is_faster() else torch.float32
    if wanted not in _DTYPES:
        raise InvalidInput(
            f"dtype is {wanted!r}", todo="Use auto, float32 or bfloat16.", where="settings"
        )
    return _DTYPES[wanted]


@functools.cache
def _bf16_is_faster() -> bool:
    def best_seconds(dtype: torch.dtype) -> float:
        x, w = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        seconds: list[float] = []
        for _ in range(8):
            start = time.perf_counter()
            torch.nn.functional.linear(x, w)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    return best_seconds(torch.bfloat16) * 1.2 < best_seconds(torch.float32)


def free_memory() -> None:
    """Return memory of dropped models to the system, so that a later peak is its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        return  # not glibc: the allocator keeps what it likes
