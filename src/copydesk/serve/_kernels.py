"""The compiled kernels of `_kernels.cpp`: built once by the machine's own C++ compiler.

Where there is no compiler, or it cannot do this, there are no kernels, and torch does the same
arithmetic in several times as many calls.
"""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from copydesk.native import bind, load_library
from copydesk.store import default_cache

_SOURCE: Final = Path(__file__).with_name("_kernels.cpp")


class Attention(ctypes.Structure):
    """What a layer's attention is, beside its numbers; see `_kernels.cpp`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("heads", "groups", "width")),
        *((name, ctypes.c_int64) for name in ("slot_stride", "head_stride", "window")),
        *((name, ctypes.c_float) for name in ("scale", "cap", "epsilon")),
        *((name, ctypes.c_void_p) for name in ("cos", "sin", "query_norm", "key_norm")),
    ]


class Owners(ctypes.Structure):
    """Who has which rows of a step; see `Rows` in `_kernels.cpp`."""

    _fields_ = [
        ("tables", ctypes.c_void_p),
        ("owners", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
    ]


class Choice(ctypes.Structure):
    """How a row's next token is chosen; see `_kernels.cpp`."""

    _fields_ = [
        ("seen", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("point", ctypes.c_double),
        ("top_p", ctypes.c_double),
        ("temperature", ctypes.c_float),
        ("penalty", ctypes.c_float),
    ]


class Kernels:
    """The functions of a built library, for bfloat16 tensors that are contiguous."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        """Bind the functions of what `load_kernels` loaded."""
        self._norm = bind(loaded, "copydesk_norm", "pppiifi")
        self._pairs = bind(loaded, "copydesk_pairs", "pipipii")
        self._gated = bind(loaded, "copydesk_gated", "piipippiiii")
        self._attend = bind(loaded, "copydesk_attend", "pppipppi")
        self._draw = bind(loaded, "copydesk_draw", "pipipi")

    def norm(self, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """x [R, D] / rms(x) * weight [D]."""
        y = torch.empty_like(x)
        rows, width = x.shape
        threads = torch.get_num_threads()
        self._norm(x.data_ptr(), weight.data_ptr(), y.data_ptr(), rows, width, epsilon, threads)
        return y

    def add_pairs(self, owners: Any, place: int, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add each row's pairs of x [R, D] to y [R, O].

        Args:
            owners: a pointer to `Owners`.
            place: number of the layers' group in the tables.
        """
        threads = torch.get_num_threads()
        self._pairs(
            owners, place, x.data_ptr(), x.shape[1], y.data_ptr(), y.shape[1], threads
        )  # fmt: skip

    def gated(
        self,
        owners: Any,
        places: tuple[int, int],
        x: torch.Tensor,
        gate: torch.Tensor,
        up: torch.Tensor,
        kind: int,
    ) -> torch.Tensor:
        """activation(gate + pairs) * (up + pairs) [R, O], in the place of `gate`.

        Args:
            owners: a pointer to `Owners`, or None: no pairs.
            places: of gate and up in the tables.
            x: [R, D] what both read.
            gate: [R, O]; changed.
            up: [R, O]; changed.
            kind: of `ACTIVATIONS`.
        """
        rows, outputs = gate.shape
        self._gated(
            owners,
            *places,
            x.data_ptr(),
            x.shape[1],
            gate.data_ptr(),
            up.data_ptr(),
            rows,
            outputs,
            kind,
            torch.get_num_threads(),
        )
        return gate

    def attend(
        self, how: Any, qkv: torch.Tensor, positions: torch.Tensor, keys_values: torch.Tensor
    ) -> torch.Tensor:
        """Attention of one token for each slot, whose keys and values are kept: [R, H K].

        Args:
            how: a pointer to `Attention`.
            qkv: [rows, (H + 2 G) K], before turning; the first R rows are those of slots 0 and on.
            positions: [R] int64, -1 for a slot without a token.
            keys_values: [2, S, G, T, K]; changed.
        """
        rows = len(positions)
        out = qkv.new_empty(rows, qkv.shape[1] - 2 * keys_values.shape[2] * keys_values.shape[4])
        self._attend(
            how,
            qkv.data_ptr(),
            positions.data_ptr(),
            rows,
            keys_values[0].data_ptr(),
            keys_values[1].data_ptr(),
            out.data_ptr(),
            torch.get_num_threads(),
        )
        return out

    def draw(self, logits: torch.Tensor, choices: Sequence[Choice]) -> list[int]:
        """A token for each row of logits [R, V]; -1 where the row is not finite at its top.

        Args:
            logits: contiguous, in bfloat16.
            choices: one a row; what they point to lives until this returns.
        """
        rows, width = logits.shape
        tokens = (ctypes.c_int64 * rows)()
        laid = (Choice * rows)(*choices)
        self._draw(
            logits.data_ptr(),
            width,
            ctypes.addressof(laid),
            rows,
            ctypes.addressof(tokens),
            torch.get_num_threads(),
        )
        return list(tokens)

    def find_activation(self, activation: Any) -> int | None:
        """Number of a gated activation, tried on numbers and not taken on its name."""
        x = torch.linspace(-8, 8, 512).bfloat16()[None]
        ones = torch.ones_like(x)
        expected = activation(x)
        for kind in range(2):
            found = self.gated(None, (0, 0), x, x.clone(), ones, kind)
            if torch.allclose(found.float(), expected.float(), atol=1e-3, rtol=1e-2):
                return kind
        return None


@functools.cache
def load_kernels() -> Kernels | None:
    """The kernels, built where they are not yet; None where that cannot be done here."""
    # Calls of some microseconds: letting other threads in between costs more than they take.
    library = load_library(_SOURCE, cache=default_cache(), openmp=True, kind=ctypes.PyDLL)
    return None if library is None else Kernels(library)
