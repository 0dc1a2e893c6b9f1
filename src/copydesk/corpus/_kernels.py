"""The compiled kernels of this room: built once by the machine's own C++ compiler.

Where there is no compiler, or it cannot do this, there are no kernels, and Python and NumPy find
the same in several times as long. Whoever calls a kernel keeps that way beside it.
"""

import ctypes
import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from copydesk.corpus._characters import character_kinds
from copydesk.native import bind, load_library, utf8_of
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
_BYTES: Final = 8
"""Of a number."""
_MOST_KEPT: Final = 1 << 20
"""Numbers that stay between calls; room for a larger text is given back."""


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


class _Room(threading.local):
    """Memory that a kernel writes to, kept for the next call: fresh memory costs more than the
    work. Each thread has its own."""

    def __init__(self) -> None:
        self._kept = _new_room(0)

    def of(self, count: int) -> tuple[Hashes, int]:
        """(room for so many numbers at least, its address)"""
        if count <= len(self._kept[0]):
            return self._kept
        found = _new_room(2 * count)
        if count <= _MOST_KEPT:
            self._kept = found
        return found


def _new_room(count: int) -> tuple[Hashes, int]:
    room = np.empty(count, dtype=np.uint64)
    return room, room.ctypes.data


class Kernels:
    """The functions of a built library. Texts are read where they lie, in UTF-8.

    Each raises UnicodeEncodeError where a text holds half of a surrogate pair.
    """

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
        self._room, self._beside = _Room(), _Room()

    def measure(self, text: str, stops: Hashes) -> tuple[Sequence[int], Hashes]:
        """(the numbers of `Counts`, the shingles) of a text without fenced code.

        Args:
            text: the text.
            stops: hashes of the eight stop words.
        """
        raw, size = utf8_of(text)
        numbers, to_numbers = self._beside.of(_NUMBERS)
        shingles, to = self._room.of(room := size // 2 + 1)
        stopping = stops.ctypes.data
        made = _checked(self._measure(self._kinds, raw, size, stopping, to_numbers, to, room))
        return numbers[:_NUMBERS].view(np.int64).tolist(), shingles[:made].copy()

    def shingles(self, text: str) -> Hashes:
        """The shingles alone."""
        raw, size = utf8_of(text)
        shingles, to = self._room.of(room := size // 2 + 1)
        return shingles[: _checked(self._shingles(self._kinds, raw, size, to, room))].copy()

    def lines(self, text: str) -> tuple[Hashes, list[int]]:
        """The hashes of the lines that a site may share, and their numbers from 0."""
        raw, size = utf8_of(text)
        hashes, to = self._room.of(room := size // _SHORTEST_LINE + 1)
        numbers, to_numbers = self._beside.of(room)
        found = _checked(self._lines(self._kinds, raw, size, to, to_numbers, room))
        return hashes[:found].copy(), numbers[:found].view(np.int64).tolist()

    def suspects(self, text: str, signs: bytes) -> list[tuple[int, int]]:
        """(number from 0, what it may hold) of the lines that may hold anything.

        Args:
            text: the text.
            signs: of each its size, how many characters of a token follow it, and itself.
        """
        raw, size = utf8_of(text)
        numbers, to_numbers = self._room.of(room := text.count("\n") + 1)
        kinds, to_kinds = self._beside.of(room)
        found = _checked(
            self._suspects(raw, size, signs, len(signs), to_numbers, to_kinds, room)
        )  # fmt: skip
        sought = kinds.view(np.uint8)[:found].tolist()
        return list(zip(numbers[:found].view(np.int64).tolist(), sought, strict=True))

    def is_tidy(self, text: str) -> bool:
        """Whether `clean_text` would do no more than normalise the text."""
        return bool(self._is_tidy(self._kinds, *utf8_of(text)))

    def squeeze(self, text: str) -> bytes:
        """The words in lower case, as far as they are ASCII, with one blank between them."""
        raw, size = utf8_of(text)
        _, to = self._room.of(size // _BYTES + 1)
        return ctypes.string_at(to, self._squeeze(raw, size, to))

    def may_hold_code(self, text: str) -> bool:
        """Whether three backticks or tildes in a row stand anywhere."""
        return bool(self._may_hold_code(*utf8_of(text)))

    def escape(self, text: str) -> bytes:
        """The text as the inside of a JSON string, where what is not ASCII stays as it is."""
        raw, size = utf8_of(text)
        room = 2 * size + 6
        while True:
            _, to = self._room.of(room // _BYTES + 1)
            made = self._escape(raw, size, to, room)
            if made >= 0:
                return ctypes.string_at(to, made)
            room = 6 * size + 6  # every byte a control character

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
