"""The compiled kernels of training on a CPU: built once by the machine's own C++ compiler.

They are for bfloat16, where the products with a base's weights run at the processor's rate and what
lies between them, in torch's many calls, took half of a step. Where there is no compiler, or the
processor lacks products of bfloat16 pairs, torch does the same arithmetic.
"""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from copydesk.native import bind, load_library
from copydesk.store import default_cache

_SOURCE: Final = Path(__file__).with_name("_attention.cpp")
_HEAD_STEP: Final = 64
"""Head sizes that attention can do are multiples of this."""


class _View(ctypes.Structure):
    """See `View` in `_attention.cpp`."""

    _fields_ = [("at", ctypes.c_void_p), ("head", ctypes.c_int64), ("token", ctypes.c_int64)]

    @classmethod
    def of(cls, tensor_HTK: torch.Tensor) -> "_View":
        return cls(tensor_HTK.data_ptr(), tensor_HTK.stride(0), tensor_HTK.stride(1))


class _Attention(ctypes.Structure):
    """See `Task` in `_attention.cpp`."""

    _fields_ = [
        *((name, _View) for name in ("query", "key", "value", "out")),
        *((name, _View) for name in ("gout", "gquery", "gkey", "gvalue")),
        *((name, ctypes.c_void_p) for name in ("sums", "starts")),
        *((name, ctypes.c_int64) for name in ("examples", "heads", "groups", "width", "tokens")),
        ("scale", ctypes.c_float),
    ]


class Kernels:
    """The functions of a built library."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        """Bind the functions of what `load_kernels` loaded."""
        self._attend = bind(loaded, "copydesk_attend_packed", "pi", "i")
        self._attend_backward = bind(loaded, "copydesk_attend_packed_backward", "pi", "i")

    def attend(
        self,
        query_HTK: torch.Tensor,
        key_GTK: torch.Tensor,
        value_GTK: torch.Tensor,
        lengths: Sequence[int],
        scale: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs [T, H, K], and [H, T] the log of the sum of each row's exponentials.

        Args: as for `causal_attention`, of those that `can_attend` names.
        """
        heads, tokens, width = query_HTK.shape
        out_THK = query_HTK.new_empty(tokens, heads, width)
        sums_HT = torch.empty(heads, tokens, device=query_HTK.device)
        task, _starts = _task(query_HTK, key_GTK, value_GTK, out_THK, sums_HT, lengths, scale)
        _check(self._attend(ctypes.byref(task), torch.get_num_threads()))
        return out_THK, sums_HT

    def attend_backward(
        self,
        inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        out_THK: torch.Tensor,
        sums_HT: torch.Tensor,
        gout_THK: torch.Tensor,
        lengths: Sequence[int],
        scale: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients of queries, keys and values, from what `attend` took and gave."""
        task, _starts = _task(*inputs, out_THK, sums_HT, lengths, scale)
        if gout_THK.stride(2) != 1:
            gout_THK = gout_THK.contiguous()
        gquery, gkey, gvalue = (torch.empty_like(one) for one in inputs)
        task.gout = _View.of(gout_THK.transpose(0, 1))
        task.gquery, task.gkey, task.gvalue = map(_View.of, (gquery, gkey, gvalue))
        _check(self._attend_backward(ctypes.byref(task), torch.get_num_threads()))
        return gquery, gkey, gvalue


def _task(
    query_HTK: torch.Tensor,
    key_GTK: torch.Tensor,
    value_GTK: torch.Tensor,
    out_THK: torch.Tensor,
    sums_HT: torch.Tensor,
    lengths: Sequence[int],
    scale: float,
) -> tuple[_Attention, torch.Tensor]:
    """What the kernel reads, and the tensor that it points to and that must outlive it."""
    heads, tokens, width = query_HTK.shape
    starts = torch.tensor([0, *lengths]).cumsum(0)
    views = (query_HTK, key_GTK, value_GTK, out_THK.transpose(0, 1))
    task = _Attention(
        **dict(zip(("query", "key", "value", "out"), map(_View.of, views), strict=True)),
        sums=sums_HT.data_ptr(),
        starts=starts.data_ptr(),
        examples=len(lengths),
        heads=heads,
        groups=len(key_GTK),
        width=width,
        tokens=tokens,
        scale=scale,
    )
    return task, starts


def _check(found: int) -> None:
    if found < 0:
        raise MemoryError


def attention_kernels(*tensors_HTK: torch.Tensor) -> Kernels | None:
    """The kernels, where they can attend these queries, keys and values; else None."""
    width = tensors_HTK[0].shape[2]
    fits = width % _HEAD_STEP == 0 and all(
        one.dtype == torch.bfloat16
        and one.device.type == "cpu"
        and one.shape[2] == width
        and one.stride(2) == 1
        for one in tensors_HTK
    )
    return load_kernels() if fits else None


@functools.cache
def load_kernels() -> Kernels | None:
    """The kernels, built where they are not yet; None where that cannot be done here."""
    library = load_library(_SOURCE, cache=default_cache(), openmp=True)
    if library is None or not bind(library, "copydesk_can_attend", "", "i")():
        return None
    return Kernels(library)
