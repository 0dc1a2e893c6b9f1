"""Hashes of all windows of a sequence of words, any length, one array operation each.

The hash of a window is the sum of its words' hashes times rising powers of an odd number, modulo
2^64 (a Rabin-Karp polynomial). Differences of prefix sums give it, and since an odd number has an
inverse there, what stands before the window can be divided out.

Shape: N words.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)


class WordHashes:
    """Words as numbers, and the hash of any window of them."""

    __slots__ = ("_inverses", "_sums", "words")

    def __init__(self, words_N: Ints) -> None:
        self.words = words_N
        count = len(words_N)
        self._sums = np.zeros(count + 1, dtype=np.uint64)
        np.cumsum(_scattered(words_N) * _powers(_BASE, count), out=self._sums[1:])
        self._inverses = _powers(_INVERSE, count)

    def windows(self, places: Ints, length: int) -> Hashes:
        """Hashes of the windows of `length` words that start at the places.

        Every place must leave room for its window.
        """
        return (self._sums[places + length] - self._sums[places]) * self._inverses[places]


def _powers(base: int, count: int) -> Hashes:
    """base^0 to base^(count - 1), modulo 2^64."""
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _scattered(words_N: Ints) -> Hashes:
    """Small numbers spread over 64 bits, so that sums of them do not meet.

    The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
    """
    mixed = words_N.astype(np.uint64) + np.uint64(_BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
