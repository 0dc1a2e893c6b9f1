"""Eight-word shingles of texts as keyed hashes: enough to tell that words were copied, never which.

Hashes are BLAKE2b of the folded words under the workspace's secret key, 8 bytes each. Without the
key nobody can try guesses; with it a text can be recognised but not read back. Two different
shingles among 15 million share a hash with a chance of about one in 10^12 a lookup.

Shape: S shingles.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from copydesk.content._folding import Word, fold_words

SHINGLE_WORDS: Final = 8
_BYTES: Final = 8
Hashes = npt.NDArray[np.uint64]
IndexKind = Literal["searched", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRun:
    """A run of a draft's words that an indexed text has too."""

    words: int
    start: int
    end: int


def shingle_hashes(words: Sequence[str], key: bytes) -> Hashes:
    """Keyed hashes of all runs of eight words, in order.

    Args:
        words: folded.
        key: 16 to 64 bytes.

    Returns:
        Shape [S], S = words - 7; none for fewer than eight words.
    """
    count = max(0, len(words) - SHINGLE_WORDS + 1)
    keyed = hashlib.blake2b(key=key, digest_size=_BYTES)
    digests = bytearray()
    for at in range(count):
        hasher = keyed.copy()
        hasher.update(" ".join(words[at : at + SHINGLE_WORDS]).encode("utf-8", "replace"))
        digests += hasher.digest()
    return np.frombuffer(bytes(digests), dtype="<u8").astype(np.uint64)


class ShingleIndex:
    """Keyed hashes of many texts' shingles, sorted, ready to be looked up."""

    __slots__ = ("_key", "hashes", "kind")

    def __init__(self, *, kind: IndexKind, hashes_S: Hashes, key: bytes) -> None:
        """Wrap hashes that were kept.

        Args:
            kind: whose texts they are of: search results, or other clients' pages.
            hashes_S: sorted, each once, as `hashes` gives them.
            key: the key that they were made with.
        """
        self.kind: IndexKind = kind
        self.hashes = hashes_S
        self._key = key

    @classmethod
    def build(cls, texts: Iterable[str], *, kind: IndexKind, key: bytes) -> "ShingleIndex":
        """Index texts; of the texts themselves nothing is kept."""
        found = [shingle_hashes(fold_words(text), key) for text in texts]
        return cls(kind=kind, hashes_S=_sorted(found), key=key)

    @classmethod
    def merged(cls, indexes: Sequence["ShingleIndex"]) -> "ShingleIndex":
        """One index of several of the same kind and key."""
        first = indexes[0]
        assert all(index.kind == first.kind and index._key == first._key for index in indexes)
        return cls(kind=first.kind, hashes_S=_sorted([i.hashes for i in indexes]), key=first._key)

    def shared(self, words: Sequence[Word]) -> tuple[float, tuple[SharedRun, ...]]:
        """What share of a draft's shingles is in the index, and the runs that they make.

        Neighbouring shingles are taken for one run; where they come from different texts it is
        longer than any text's own.

        Args:
            words: of the draft, folded, with their places.

        Returns:
            The share, 0 to 1, and the runs in order.
        """
        hashes = shingle_hashes([word.text for word in words], self._key)
        if not len(hashes) or not len(self.hashes):
            return 0.0, ()
        nearest = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        hits = self.hashes[nearest] == hashes
        runs = (
            SharedRun(
                words=last - first + SHINGLE_WORDS,
                start=words[first].start,
                end=words[last + SHINGLE_WORDS - 1].end,
            )
            for first, last in _stretches(hits)
        )
        return float(hits.mean()), tuple(runs)


def _sorted(parts: Sequence[Hashes]) -> Hashes:
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.uint64)


def _stretches(hits: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last position of each unbroken stretch of hits."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], hits, [False]))))
    for first, past in edges.reshape(-1, 2):
        yield int(first), int(past) - 1
