"""Sketches of a page's shingles: small, and enough to find and to judge near-duplicates.

A signature finds: one-permutation MinHash (Li, Owen and Zhang 2012) of 128 bins, empty ones filled
from others by optimal densification (Shrivastava 2017). A bottom sketch judges: the 256 smallest
hashes, by which the Jaccard likeness of two pages is estimated (Broder 1997), exactly where both
have no more shingles than that.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from copydesk.corpus._kernels import load_kernels
from copydesk.corpus._signals import Hashes, mixed

BINS: Final = 128
ROWS: Final = 3
BANDS: Final = BINS // ROWS
"""Two pages of likeness 0.6 share no band once in 28,000 pairs: (1 - 0.6^3)^42."""
SKETCH: Final = 256
EMPTY: Final = np.uint64(0xFFFFFFFFFFFFFFFF)

_SHIFT: Final = np.uint64(57)
_BOUNDS: Final = np.arange(BINS + 1, dtype=np.uint64)[:BINS] << _SHIFT


def _donors() -> NDArray[np.int64]:
    """[192, 128]: for each bin the bins to borrow from, in order; in the end every bin comes."""
    with np.errstate(over="ignore"):
        drawn = mixed(np.arange(64 * BINS, dtype=np.uint64) + np.uint64(0x51ED270B)) % np.uint64(
            BINS
        )
    rest = (np.arange(BINS)[:, None] + np.arange(BINS)[None, :]) % BINS
    return np.concatenate((drawn.reshape(64, BINS).astype(np.int64), rest))


_DONORS: Final = _donors()


def band_keys(shingles: Hashes) -> Hashes:
    """[BANDS] keys: pages that share one are candidates.

    Args:
        shingles: sorted, each once; a page without any gets keys of its own kind, all `EMPTY`.
    """
    kernels = load_kernels()
    if kernels is not None:
        return kernels.band_keys(shingles, _DONORS)
    if not len(shingles):
        return np.full(BANDS, EMPTY)
    at = np.searchsorted(shingles, _BOUNDS)
    ends = np.append(at[1:], len(shingles))
    filled = at < ends
    values = shingles[np.minimum(at, len(shingles) - 1)]
    if not filled.all():
        reach = _DONORS[np.argmax(filled[_DONORS], axis=0), np.arange(BINS)]
        values = np.where(filled, values, values[reach])
    with np.errstate(over="ignore"):
        rows = values[: BANDS * ROWS].reshape(BANDS, ROWS)
        keys = rows[:, 0]
        for row in range(1, ROWS):
            keys = mixed(keys * np.uint64(0xD6E8FEB86659FD93) + rows[:, row])
    return np.where(keys == EMPTY, EMPTY - np.uint64(1), keys)


def bottom_sketch(shingles: Hashes) -> Hashes:
    """[SKETCH] the smallest hashes in order, the rest `EMPTY`."""
    sketch = np.full(SKETCH, EMPTY)
    taken = shingles[:SKETCH]
    sketch[: len(taken)] = taken
    return sketch


def likeness(a: Hashes, b: Hashes) -> float:
    """Estimated Jaccard likeness of two pages by their bottom sketches; 0 where one is empty.

    Of the 256 smallest hashes of both together, the share that both have. Its standard error is
    sqrt(j (1 - j) / 256), 0.03 at 0.6; none where both pages have 256 shingles or fewer.
    """
    a, b = a[a != EMPTY], b[b != EMPTY]
    if not len(a) or not len(b):
        return 0.0
    both = np.union1d(a, b)
    if len(a) == SKETCH or len(b) == SKETCH:
        both = both[:SKETCH]
    shared = np.intersect1d(a, b, assume_unique=True)
    return float(np.isin(both, shared, assume_unique=True).sum()) / len(both)
