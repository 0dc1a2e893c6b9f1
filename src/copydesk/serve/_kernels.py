"""The compiled kernels of `_kernels.cpp`: built once by the machine's own C++ compiler.

Where there is no compiler, or it cannot do this, there are no kernels, and torch does the same
arithmetic in several times as many calls. What was built is kept in the user's cache, under a name
that says of what, by what and for which processor.
"""

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from copydesk.models import default_cache
from copydesk.serve._openmp import openmp_library

_LOG = logging.getLogger(__name__)
_SOURCE: Final = Path(__file__).with_name("_kernels.cpp")
_FLAGS: Final = (
    "-O3",
    "-march=native",
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-fopenmp",
    # Sums in any order, and no error numbers; numbers that are not finite keep their meaning.
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-freciprocal-math",
)
_SECONDS = 120.0
"""Within which a compiler must have ended."""


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

    def __init__(self, library: Path) -> None:
        """Load what `load_kernels` built."""
        # Calls of some microseconds: letting other threads in between costs more than they take.
        loaded = ctypes.PyDLL(str(library))
        self._norm = _bound(loaded, "norm", "pppiifi")
        self._pairs = _bound(loaded, "pairs", "pipipii")
        self._gated = _bound(loaded, "gated", "piipippiiii")
        self._attend = _bound(loaded, "attend", "pppipppi")
        self._draw = _bound(loaded, "draw", "pipipi")

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
    compiler = next(
        (found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None
    )
    if compiler is None:
        _LOG.info("There is no C++ compiler: the engine runs without kernels of its own")
        return None
    try:
        library = _built(compiler)
        return Kernels(library)
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        said = getattr(error, "stderr", "") or str(error)
        _LOG.warning("The engine's kernels could not be built: %s", str(said)[-500:])
        return None


def _built(compiler: str) -> Path:
    """The library, compiled unless it is in the cache."""
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=True, timeout=_SECONDS
    ).stdout
    source = _SOURCE.read_bytes()
    openmp = openmp_library()  # torch's own: one pool of threads and not two
    libraries = [] if openmp is None else [str(openmp)]
    known = [source, version, *_FLAGS, *libraries, platform.machine(), _processor()]
    digest = hashlib.sha256(repr(known).encode()).hexdigest()[:24]
    folder = default_cache() / "kernels"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / f"{digest}.so"
    if target.is_file() and _is_ours(target):
        return target
    descriptor, name = tempfile.mkstemp(prefix=".building-", suffix=".so", dir=folder)
    os.close(descriptor)
    try:
        subprocess.run(
            [compiler, *_FLAGS, str(_SOURCE), "-o", name, *libraries],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
        )
        Path(name).replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
    return target


def _is_ours(file: Path) -> bool:
    return not hasattr(os, "getuid") or file.stat().st_uid == os.getuid()


def _processor() -> str:
    """What this processor can do: a cache may be shared by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _bound(library: ctypes.PyDLL, name: str, kinds: str) -> Any:
    """A function with its arguments' types: p pointer, i int64, f float."""
    types = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}
    function = getattr(library, f"copydesk_{name}")
    function.argtypes = [types[kind] for kind in kinds]
    function.restype = None
    return function
