"""The compiled kernels of `_kernels.cpp`: built once by the machine's own C++ compiler.

Where there is no compiler, or it cannot do this, there are none, and NumPy finds the same numbers
in several times as long (`benchmarks/clean_scale.py`).
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from copydesk.native import bind, build_library
from copydesk.store import default_cache

Hashes = NDArray[np.uint64]

_SOURCE: Final = Path(__file__).with_name("_kernels.cpp")
_COUNTS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What the kernels compute by; they have no definitions of their own."""

    classes: NDArray[np.uint8]
    """[256] of each byte, as bits: blank, letter, part of a word, end of a line, bullet."""
    values: Hashes
    """[256] of each byte, for hashes."""
    stops: Hashes
    """At most 32 words that are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Sums over a page, of which `Signals` has the shares."""

    words: int
    characters: int
    lettered: int
    stops: int
    lines: int
    bullet_lines: int
    ellipsis_lines: int
    punctuated_lines: int
    short_lines: int
    duplicate_lines: int
    duplicate_line_bytes: int
    line_bytes: int
    runs: tuple[int, ...]
    """Of 2 to 10 words: characters of the most frequent one, and from 5 on of repeated ones."""
    shingles: Hashes


class Kernels:
    """The library's functions over NumPy arrays."""

    def __init__(self, library: ctypes.CDLL, tables: Tables) -> None:
        """Bind the functions of a library that `build_library` made."""
        self._measure = bind(library, "copydesk_measure", "pppipipp", "i")
        self._shingles = bind(library, "copydesk_shingles", "pppip", "i")
        self._shared_lines = bind(library, "copydesk_shared_lines", "ppipipiiipp", "i")
        self._suspects = bind(library, "copydesk_suspects", "piipp", "i")
        self._tables = tables  # the addresses below are into it
        self._classes = tables.classes.ctypes.data
        self._values = tables.values.ctypes.data
        self._stops = tables.stops.ctypes.data
        blanks = [c for c in range(0x80, 0x10000) if chr(c).isspace()]
        self._blanks = np.array(blanks, dtype=np.uint32)

    def measure(self, raw: bytes) -> Measured | None:
        """Of UTF-8 in ASCII lower case; None where there are more words than are placed."""
        shingles = np.empty(len(raw) // 2 + 1, dtype=np.uint64)
        counts = (ctypes.c_int64 * _COUNTS)()
        found = self._measure(
            *(self._classes, self._values, raw, len(raw)),
            *(self._stops, len(self._tables.stops)),
            *(ctypes.addressof(counts), shingles.ctypes.data),
        )
        if found < 0:
            return None
        names = list(Measured.__dataclass_fields__)[:12]
        return Measured(
            **dict(zip(names, counts[:12], strict=True)),
            runs=tuple(counts[12:21]),
            shingles=shingles[:found].copy(),
        )

    def shingles(self, raw: bytes) -> Hashes:
        """The hashes of the runs of five words, sorted, each once."""
        out = np.empty(len(raw) // 2 + 1, dtype=np.uint64)
        found = self._shingles(self._classes, self._values, raw, len(raw), out.ctypes.data)
        return out[:found].copy()

    def shared_lines(
        self, raw: bytes, *, marks: bytes, least: int, most: int
    ) -> tuple[NDArray[np.int64], Hashes]:
        """(numbers, hashes) of the lines of so many characters that begin with none of `marks`
        and have a blank between words."""
        hashes = np.empty(len(raw) // least + 1, dtype=np.uint64)
        numbers = np.empty(len(hashes), dtype=np.int64)
        found = self._shared_lines(
            *(self._values, raw, len(raw), self._blanks.ctypes.data, len(self._blanks)),
            *(marks, len(marks), least, most, hashes.ctypes.data, numbers.ctypes.data),
        )
        return numbers[:found], hashes[:found]

    def suspects(self, raw: bytes, fewest: int) -> list[tuple[int, int]]:
        """(number, kinds) of the lines that may hold an address (1), a number of at least `fewest`
        digits (2) or an account (4)."""
        numbers = np.empty(raw.count(b"\n") + 1, dtype=np.int64)
        kinds = np.empty(len(numbers), dtype=np.uint8)
        found = self._suspects(raw, len(raw), fewest, numbers.ctypes.data, kinds.ctypes.data)
        return list(zip(numbers[:found].tolist(), kinds[:found].tolist(), strict=True))


def load_kernels(tables: Tables) -> Kernels | None:
    """The kernels, built where they are not yet; None where that cannot be done here."""
    library = build_library(_SOURCE, cache=default_cache(), threads=False)
    return None if library is None else Kernels(ctypes.CDLL(str(library)), tables)
