"""The compiled kernels of training on a CPU: built once by the machine's own C++ compiler.

They are for bfloat16, where the products with a base's weights run at the processor's rate and what
lies between them, in torch's many calls, took half of a step. Where there is no compiler, or the
processor lacks products of bfloat16 pairs, torch does the same arithmetic.

Each is an operator of torch's, `torch.ops.copydesk.NAME`, so that a pass over tensors without
numbers allocates what a real one does, and whoever counts operations sees it.

Letters: R rows, D and I widths, L positions with loss, V vocabulary; others as in `_causal`.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from copydesk.native import bind, load_library
from copydesk.store import default_cache

_SOURCES: Final = tuple(
    Path(__file__).with_name(name) for name in ("_attention.cpp", "_rows.cpp", "_vectors.hpp")
)
_HEAD_STEP: Final = 64
"""Head sizes that attention can do are multiples of this."""
SILU, GELU_TANH = 0, 1
"""Activations of `gate_rows`."""


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
        *((name, ctypes.c_void_p) for name in ("sums", "starts", "parents")),
        *((name, ctypes.c_int64) for name in ("segments", "heads", "groups", "width", "tokens")),
        ("scale", ctypes.c_float),
    ]


@functools.cache
def load_kernels() -> ctypes.CDLL | None:
    """The kernels, built where they are not yet; None where that cannot be done here."""
    library = load_library(*_SOURCES, cache=default_cache(), openmp=True)
    if library is None or not bind(library, "copydesk_can_attend", "", "i")():
        return None
    for name, kinds, result in (
        ("attend_packed", "pi", "i"),
        ("attend_packed_backward", "pi", "i"),
        ("norm_rows", "ppippiifi", ""),
        ("norm_rows_backward", "ppipppiii", ""),
        ("gate_rows", "pppiiii", ""),
        ("gate_rows_backward", "ppppiiii", ""),
        ("losses", "ppppiii", ""),
        ("losses_backward", "ppppiii", ""),
    ):
        bind(library, f"copydesk_{name}", kinds, result)
    return library


def can_compile(device_type: str, dtype: torch.dtype) -> bool:
    """Whether rows of this format, on such a device, can be left to the kernels."""
    return device_type == "cpu" and dtype == torch.bfloat16 and load_kernels() is not None


def can_attend(*tensors_HTK: torch.Tensor) -> bool:
    """Whether the kernels can attend these queries, keys and values. Meta stands for a CPU."""
    width = tensors_HTK[0].shape[2]
    fits = width % _HEAD_STEP == 0 and all(
        one.dtype == torch.bfloat16
        and one.device.type in {"cpu", "meta"}
        and one.shape[2] == width
        and one.stride(2) == 1
        for one in tensors_HTK
    )
    return fits and load_kernels() is not None


_OPERATORS = torch.library.Library("copydesk", "DEF")


def _operator(schema: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function an operator on a CPU and, where it only allocates, on tensors without
    numbers. The function calls a kernel by `_call`, which does nothing there."""

    def registered(function: Callable[..., Any]) -> Callable[..., Any]:
        name = _OPERATORS.define(schema)
        for key in ("CPU", "Meta"):
            _OPERATORS.impl(name, function, key)
        return getattr(torch.ops.copydesk, schema.partition("(")[0])

    return registered


def _call(name: str, of: torch.Tensor, *arguments: Any) -> None:
    """A kernel with the addresses of tensors and with numbers, on as many threads as torch has."""
    if of.is_meta:
        return
    library = load_kernels()
    assert library is not None
    plain = [one.data_ptr() if isinstance(one, torch.Tensor) else one for one in arguments]
    if getattr(library, f"copydesk_{name}")(*plain, torch.get_num_threads()):
        raise MemoryError


@_operator(
    "attend(Tensor q, Tensor k, Tensor v, int[] lengths, int[] parents, float scale) "
    "-> (Tensor, Tensor)"
)
def attend(
    query_HTK: torch.Tensor,
    key_GTK: torch.Tensor,
    value_GTK: torch.Tensor,
    lengths: Sequence[int],
    parents: Sequence[int],
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs [T, H, K], and [H, T] the log of the sum of each row's exponentials.

    Args: as for `causal_attention`, of those for which `can_attend` says yes.
    """
    heads, tokens, width = query_HTK.shape
    out_THK = query_HTK.new_empty(tokens, heads, width)
    sums_HT = query_HTK.new_empty(heads, tokens, dtype=torch.float32)
    views = (query_HTK, key_GTK, value_GTK, out_THK.transpose(0, 1))
    _attend("attend_packed", views, sums_HT, lengths, parents, scale)
    return out_THK, sums_HT


@_operator(
    "attend_backward(Tensor q, Tensor k, Tensor v, Tensor out, Tensor sums, Tensor gout, "
    "int[] lengths, int[] parents, float scale) -> (Tensor, Tensor, Tensor)"
)
def attend_backward(
    query_HTK: torch.Tensor,
    key_GTK: torch.Tensor,
    value_GTK: torch.Tensor,
    out_THK: torch.Tensor,
    sums_HT: torch.Tensor,
    gout_THK: torch.Tensor,
    lengths: Sequence[int],
    parents: Sequence[int],
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of queries, keys and values, from what `attend` took and gave."""
    if gout_THK.stride(2) != 1:
        gout_THK = gout_THK.contiguous()
    inputs = (query_HTK, key_GTK, value_GTK)
    gquery, gkey, gvalue = (torch.empty_like(one) for one in inputs)
    views = (*inputs, out_THK.transpose(0, 1), gout_THK.transpose(0, 1), gquery, gkey, gvalue)
    _attend("attend_packed_backward", views, sums_HT, lengths, parents, scale)
    return gquery, gkey, gvalue


def _attend(
    name: str,
    views: Sequence[torch.Tensor],
    sums_HT: torch.Tensor,
    lengths: Sequence[int],
    parents: Sequence[int],
    scale: float,
) -> None:
    if sums_HT.is_meta:
        return
    heads, tokens, width = views[0].shape
    starts = torch.tensor([0, *lengths]).cumsum(0)
    behind = torch.tensor(parents)
    task = _Attention(
        *map(_View.of, views),
        sums=sums_HT.data_ptr(),
        starts=starts.data_ptr(),
        parents=behind.data_ptr(),
        segments=len(lengths),
        heads=heads,
        groups=len(views[1]),
        width=width,
        tokens=tokens,
        scale=scale,
    )
    _call(name, sums_HT, ctypes.addressof(task))


@_operator("norm_rows(Tensor x, Tensor weight, bool plus_one, float epsilon) -> (Tensor, Tensor)")
def norm_rows(
    x_RD: torch.Tensor, weight_D: torch.Tensor, plus_one: bool, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x / rms(x) * weight, or * (1 + weight), and 1 / rms(x) [R]."""
    y_RD = torch.empty_like(x_RD)
    scales_R = x_RD.new_empty(len(x_RD), dtype=torch.float32)
    _call(
        "norm_rows", x_RD, x_RD, weight_D, int(plus_one), y_RD, scales_R, *x_RD.shape, epsilon
    )  # fmt: skip
    return y_RD, scales_R


@_operator(
    "norm_rows_backward(Tensor x, Tensor weight, bool plus_one, Tensor scales, Tensor gy) -> Tensor"
)
def norm_rows_backward(
    x_RD: torch.Tensor,
    weight_D: torch.Tensor,
    plus_one: bool,
    scales_R: torch.Tensor,
    gy_RD: torch.Tensor,
) -> torch.Tensor:
    """The gradient of x."""
    gx_RD = torch.empty_like(x_RD)
    _call(
        "norm_rows_backward",
        x_RD,
        *(x_RD, weight_D, int(plus_one), scales_R, gy_RD, gx_RD),
        *x_RD.shape,
    )
    return gx_RD


@_operator("gate_rows(Tensor gates, Tensor ups, int kind) -> Tensor")
def gate_rows(gates_RI: torch.Tensor, ups_RI: torch.Tensor, kind: int) -> torch.Tensor:
    """activation(gates) * ups."""
    out_RI = torch.empty_like(gates_RI)
    _call("gate_rows", gates_RI, gates_RI, ups_RI, out_RI, *gates_RI.shape, kind)
    return out_RI


@_operator("gate_rows_backward(Tensor gates, Tensor ups, Tensor(a!) grads, int kind) -> Tensor")
def gate_rows_backward(
    gates_RI: torch.Tensor, ups_RI: torch.Tensor, grads_RI: torch.Tensor, kind: int
) -> torch.Tensor:
    """The gradient of gates; in the place of the output's gradients are those of ups then."""
    ggates_RI = torch.empty_like(gates_RI)
    _call(
        "gate_rows_backward",
        gates_RI,
        *(gates_RI, ups_RI, grads_RI, ggates_RI),
        *(*gates_RI.shape, kind),
    )
    return ggates_RI


@_operator("losses(Tensor logits, Tensor targets) -> (Tensor, Tensor)")
def losses(logits_LV: torch.Tensor, targets_L: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy [L] in nats, and [L] the log of the sum of each row's exponentials."""
    losses_L = logits_LV.new_empty(len(logits_LV), dtype=torch.float32)
    sums_L = torch.empty_like(losses_L)
    _call("losses", logits_LV, logits_LV, targets_L, losses_L, sums_L, *logits_LV.shape)
    return losses_L, sums_L


@_operator("losses_backward(Tensor(a!) logits, Tensor targets, Tensor sums, Tensor grads) -> ()")
def losses_backward(
    logits_LV: torch.Tensor, targets_L: torch.Tensor, sums_L: torch.Tensor, grads_L: torch.Tensor
) -> None:
    """Put the gradients of the logits in their place, from those of the losses."""
    _call("losses_backward", logits_LV, logits_LV, targets_L, sums_L, grads_L, *logits_LV.shape)
