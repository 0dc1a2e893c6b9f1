"""Duplicates over a whole corpus, found in its sketches: texts are not read again.

Shapes: N pages over all parts, in the order of parts and lines.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from copydesk.corpus._shards import Part, hash_of
from copydesk.corpus._signals import Hashes, Places
from copydesk.corpus._sketches import BANDS, EMPTY, likeness
from copydesk.records import Rejection

KEPT, EXACT, SAME_ID, NEAR = range(4)
_LONGEST_CHAIN: Final = 16
"""Pages of one key that are compared with a new one, the last kept first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """What became of each page."""

    cause: NDArray[np.int8]
    """[N] `KEPT`, or why not."""
    earlier: Places
    """[N] the page that it repeats; -1 for those kept."""
    likeness: NDArray[np.float32]
    """[N] estimated, of near-duplicates."""
    alike: NDArray[np.bool_]
    """[N] kept by the user although another is like it, or is that other."""
    days: NDArray[np.int32]
    ids: Hashes
    offsets: Places
    """[parts + 1] the first page of each part."""
    threshold: float

    def rejection(self, parts: Sequence[Part], row: int) -> Rejection:
        """Why a page was left out, in words."""
        path, line, name = self._place(parts, row)
        first_path, first_line, _ = self._place(parts, int(self.earlier[row]))
        first = f"{first_path}:{first_line}"
        cause = int(self.cause[row])
        if cause == EXACT:
            rule, reason = "exact-duplicate", f"Its text is that of {first}."
        elif cause == SAME_ID:
            rule = "duplicate-id"
            reason = f"Its id {name!r} is that of {first}, with another text."
        else:
            rule = "near-duplicate"
            reason = (
                f"It shares about {self.likeness[row]:.2f} of its 5-word runs with {first}; "
                f"pages of {self.threshold:g} or more count as one."
            )
        near = cause == NEAR
        return Rejection(
            source=path,
            line=line,
            rule=rule,
            reason=reason,
            id=name,
            value=round(float(self.likeness[row]), 4) if near else None,
            threshold=self.threshold if near else None,
        )

    def _place(self, parts: Sequence[Part], row: int) -> tuple[str, int, str]:
        number = int(np.searchsorted(self.offsets, row, side="right")) - 1
        file = parts[number].file("places.jsonl")
        return _places(file, file.stat().st_mtime_ns)[row - int(self.offsets[number])]


@functools.lru_cache(maxsize=64)
def _places(file: Path, _written: int) -> list[tuple[str, int, str]]:
    """(path, line, id) of a part's pages; the parts asked for last are remembered."""
    return [tuple(json.loads(line)) for line in file.read_bytes().splitlines()]


def find_twins(parts: Sequence[Part], *, threshold: float, keep: frozenset[str]) -> Twins:
    """Keep the oldest of pages that are the same or nearly so; undated ones come last.

    Pages that share a key are candidates, and their sketches decide. A page is compared with those
    kept before it.

    Args:
        parts: cleaned.
        threshold: Jaccard likeness from which two pages count as one.
        keep: ids of pages that are kept all the same.
    """
    exact, ids, days, offsets = _columns(parts)
    total = int(offsets[-1])
    tie = np.arange(total)
    order = np.lexsort((tie, ids, days))
    age = np.empty(total, dtype=np.int64)
    age[order] = tie
    state = _Search(
        parts=parts,
        offsets=offsets,
        exact=exact,
        ids=ids,
        kept_ids=frozenset(map(hash_of, keep)),
        threshold=threshold,
    )
    pages, groups = _shared_keys(parts, age)
    again = _recurs(exact) | _recurs(ids)
    again[pages] = True
    starts = np.searchsorted(age[pages], np.arange(total + 1))
    state.prepare(total, pages, groups)
    for row in order[again[order]]:
        place = int(age[row])
        state.judge(int(row), int(starts[place]), int(starts[place + 1]))
    return Twins(
        cause=state.cause,
        earlier=state.earlier,
        likeness=state.likeness,
        alike=state.alike,
        days=days,
        ids=ids,
        offsets=offsets,
        threshold=threshold,
    )


def _columns(parts: Sequence[Part]) -> tuple[Hashes, Hashes, NDArray[np.int32], Places]:
    exact: list[Hashes] = []
    ids: list[Hashes] = []
    days: list[NDArray[np.int32]] = []
    for part in parts:
        with np.load(part.file("pages.npz")) as arrays:
            exact.append(arrays["exact"])
            ids.append(arrays["ids"])
            days.append(arrays["days"])
    offsets = np.cumsum([0, *map(len, exact)])
    return np.concatenate(exact), np.concatenate(ids), np.concatenate(days), offsets


def _recurs(values: Hashes) -> NDArray[np.bool_]:
    """[N] whether another page has the same value."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[inverse] > 1


def _shared_keys(parts: Sequence[Part], age: Places) -> tuple[Places, Places]:
    """(page, number of the key) for every key that several pages have, by the page's age.

    One band at a time: most keys are of one page alone and are forgotten at once.
    """
    pages: list[Places] = []
    groups: list[Places] = []
    known = 0
    for band in range(BANDS):
        keys = np.concatenate([_band(part, band) for part in parts])
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        shared = np.flatnonzero((counts[inverse] > 1) & (keys != EMPTY))
        pages.append(shared)
        groups.append(inverse[shared] + known)
        known += len(counts)
    page, group = np.concatenate(pages), np.concatenate(groups)
    _, group = np.unique(group, return_inverse=True)
    order = np.argsort(age[page], kind="stable")
    return page[order], group[order]


def _band(part: Part, band: int) -> Hashes:
    return np.load(part.file("keys.npy"), mmap_mode="r")[:, band]


class _Search:
    """The pages kept so far, chained by the keys that they share."""

    def __init__(
        self,
        *,
        parts: Sequence[Part],
        offsets: Places,
        exact: Hashes,
        ids: Hashes,
        kept_ids: frozenset[int],
        threshold: float,
    ) -> None:
        self._parts = parts
        self._offsets = offsets
        self._exact = exact
        self._ids = ids
        self._wanted = kept_ids
        self._threshold = threshold
        self._by_exact: dict[int, int] = {}
        self._by_id: dict[int, int] = {}
        self._sketches = [
            np.load(part.file("sketches.npy"), mmap_mode="r", allow_pickle=False) for part in parts
        ]

    def prepare(self, total: int, pages: Places, groups: Places) -> None:
        """Take the pairs of page and key, oldest page first."""
        self.cause = np.zeros(total, dtype=np.int8)
        self.earlier = np.full(total, -1, dtype=np.int64)
        self.likeness = np.zeros(total, dtype=np.float32)
        self.alike = np.zeros(total, dtype=bool)
        self._pages, self._groups = pages, groups
        self._newest = np.full(int(groups.max()) + 1 if len(groups) else 0, -1, dtype=np.int64)
        self._before = np.full(len(pages), -1, dtype=np.int64)

    def judge(self, row: int, start: int, end: int) -> None:
        """Keep a page or name what it repeats; its keys are the pairs from `start` to `end`."""
        wanted = int(self._ids[row]) in self._wanted
        found, alike = self._repeats(row, start, end)
        if found and not (
            wanted and found[0] != SAME_ID and int(self._ids[row]) not in self._by_id
        ):
            self.cause[row], self.earlier[row], self.likeness[row] = found[0], found[1], alike
            return
        if found:
            self.alike[[row, found[1]]] = True
        self._by_exact.setdefault(int(self._exact[row]), row)
        self._by_id[int(self._ids[row])] = row
        for pair in range(start, end):
            group = self._groups[pair]
            self._before[pair] = self._newest[group]
            self._newest[group] = pair

    def _repeats(self, row: int, start: int, end: int) -> tuple[tuple[int, int] | None, float]:
        same = self._by_exact.get(int(self._exact[row]))
        if same is not None:
            return (EXACT, same), 1.0
        same = self._by_id.get(int(self._ids[row]))
        if same is not None:
            return (SAME_ID, same), 0.0
        candidates: set[int] = set()
        for pair in range(start, end):
            other = int(self._newest[self._groups[pair]])
            for _ in range(_LONGEST_CHAIN):
                if other < 0:
                    break
                candidates.add(int(self._pages[other]))
                other = int(self._before[other])
        own = self._sketch(row)
        best, nearest = 0.0, -1
        for other in sorted(candidates):
            alike = likeness(own, self._sketch(other))
            if alike > best:
                best, nearest = alike, other
        return ((NEAR, nearest), best) if best >= self._threshold else (None, best)

    def _sketch(self, row: int) -> Hashes:
        number = int(np.searchsorted(self._offsets, row, side="right")) - 1
        return np.asarray(self._sketches[number][row - int(self._offsets[number])])
