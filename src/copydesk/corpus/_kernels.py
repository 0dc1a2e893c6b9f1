"""The compiled kernels of this room: built once by the machine's own C++ compiler.

Where there is no compiler, or it cannot do this, there are no kernels, and Python and NumPy find
the same in several times as long. Whoever calls a kernel keeps that way beside it.
"""

import ctypes
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from copydesk.corpus._characters import character_kinds
from copydesk.native import bind, load_library
from copydesk.store import default_cache

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_FILES: Final = tuple(
    Path(__file__).with_name(name)
    for name in ("_measure.cpp", "_search.cpp", "_sketch.cpp", "_bytes.hpp", "_prose.hpp")
)
_NUMBERS: Final = 23
"""Of `Counts` in `_measure.cpp`."""
_SHORTEST_LINE: Final = 12
_BANDS: Final = 42


class LanguageModel(ctypes.Structure):
    """Tables of py3langid; see `Model` in `_sketch.cpp`."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("moves", "rows", "features", "weights")),
        *((name, ctypes.c_void_p) for name in ("priors", "first")),
        *((name, ctypes.c_int64) for name in ("states", "moves_size", "classes")),
    ]

    tables: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, **tables: NDArray[Any]) -> Self:
        """The model of these tables, which live as long as it does."""
        laid = {name: np.ascontiguousarray(table) for name, table in tables.items()}
        model = cls(
            **{name: table.ctypes.data for name, table in laid.items()},
            states=len(laid["rows"]),
            moves_size=len(laid["moves"]),
            classes=len(laid["first"]),
        )
        model.tables = laid
        return model


class Kernels:
    """The functions of a built library, for texts in UTF-8."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        """Bind the functions of what `load_kernels` loaded."""
        self._measure = bind(loaded, "copydesk_measure", "ppipppi", "i")
        self._shingles = bind(loaded, "copydesk_shingles", "ppipi", "i")
        self._lines = bind(loaded, "copydesk_lines", "ppippi", "i")
        self._suspects = bind(loaded, "copydesk_suspects", "pipippi", "i")
        self._is_tidy = bind(loaded, "copydesk_is_tidy", "ppi", "i")
        self._may_hold_code = bind(loaded, "copydesk_may_hold_code", "pi", "i")
        self._squeeze = bind(loaded, "copydesk_squeeze", "pip", "i")
        self._escape = bind(loaded, "copydesk_escape", "pipi", "i")
        self._band_keys = bind(loaded, "copydesk_band_keys", "pipip")
        self._language = bind(loaded, "copydesk_language", "ppip", "i")
        self._table = character_kinds()  # the pointer lives as long as this
        self._kinds = self._table.ctypes.data

    def measure(self, raw: bytes, stops: Hashes) -> tuple[Sequence[int], Hashes]:
        """(the numbers of `Counts`, the shingles) of a text without fenced code.

        Args:
            raw: the text.
            stops: hashes of the eight stop words.
        """
        numbers = np.empty(_NUMBERS, dtype=np.int64)
        shingles = np.empty(len(raw) // 2 + 1, dtype=np.uint64)
        made = _checked(
            self._measure(
                self._kinds,
                raw,
                len(raw),
                stops.ctypes.data,
                numbers.ctypes.data,
                shingles.ctypes.data,
                len(shingles),
            )
        )
        return numbers.tolist(), shingles[:made].copy()

    def shingles(self, raw: bytes) -> Hashes:
        """The shingles alone."""
        shingles = np.empty(len(raw) // 2 + 1, dtype=np.uint64)
        made = self._shingles(self._kinds, raw, len(raw), shingles.ctypes.data, len(shingles))
        return shingles[: _checked(made)].copy()

    def lines(self, raw: bytes) -> tuple[Hashes, list[int]]:
        """The hashes of the lines that a site may share, and their numbers from 0."""
        room = len(raw) // _SHORTEST_LINE + 1
        hashes, numbers = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
        found = _checked(
            self._lines(
                self._kinds, raw, len(raw), hashes.ctypes.data, numbers.ctypes.data, room
            )
        )  # fmt: skip
        return hashes[:found].copy(), numbers[:found].tolist()

    def suspects(self, raw: bytes, signs: bytes) -> list[tuple[int, int]]:
        """(number from 0, what it may hold) of the lines that may hold anything.

        Args:
            raw: the text.
            signs: of each its size, how many characters of a token follow it, and itself.
        """
        room = raw.count(b"\n") + 1
        numbers, kinds = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.uint8)
        found = _checked(
            self._suspects(
                raw, len(raw), signs, len(signs), numbers.ctypes.data, kinds.ctypes.data, room
            )
        )
        return list(zip(numbers[:found].tolist(), kinds[:found].tolist(), strict=True))

    def is_tidy(self, raw: bytes) -> bool:
        """Whether `clean_text` would do no more than normalise the text."""
        return bool(self._is_tidy(self._kinds, raw, len(raw)))

    def squeeze(self, raw: bytes) -> memoryview:
        """The words in lower case, as far as they are ASCII, with one blank between them."""
        out = np.empty(len(raw), dtype=np.uint8)
        return out[: self._squeeze(raw, len(raw), out.ctypes.data)].data

    def may_hold_code(self, raw: bytes) -> bool:
        """Whether three backticks or tildes in a row stand anywhere."""
        return bool(self._may_hold_code(raw, len(raw)))

    def escape(self, raw: bytes) -> bytes:
        """The text as the inside of a JSON string, where what is not ASCII stays as it is."""
        room = 2 * len(raw) + 6
        while True:
            out = np.empty(room, dtype=np.uint8)
            made = self._escape(raw, len(raw), out.ctypes.data, room)
            if made >= 0:
                return out[:made].tobytes()
            room = 6 * len(raw) + 6  # every byte a control character

    def band_keys(self, shingles: Hashes, donors: Places) -> Hashes:
        """The keys of `_sketches`, of shingles in order; `donors` [turns, bins] to borrow from."""
        keys = np.empty(_BANDS, dtype=np.uint64)
        self._band_keys(
            shingles.ctypes.data, len(shingles), donors.ctypes.data, len(donors), keys.ctypes.data
        )
        return keys

    def language(self, model: LanguageModel, raw: bytes) -> tuple[int, float] | None:
        """(number of the likeliest class, how likely it is); None where nothing tells."""
        likely = ctypes.c_double()
        found = self._language(ctypes.byref(model), raw, len(raw), ctypes.byref(likely))
        return None if found < 0 else (found, likely.value)


def _checked(found: int) -> int:
    if found == -1:
        raise MemoryError
    assert found >= 0
    return found


@functools.cache
def load_kernels() -> Kernels | None:
    """The kernels, built where they are not yet; None where that cannot be done here."""
    library = load_library(*_FILES, cache=default_cache())
    return None if library is None else Kernels(library)
