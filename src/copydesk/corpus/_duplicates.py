"""Pages that say the same twice: the later one is left out, naming the earlier one."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

from datasketch import MinHash, MinHashLSH

from copydesk.corpus._pages import Page, Place
from copydesk.corpus._words import shingles
from copydesk.records import Chat, Document, Rejection

_PERMUTATIONS: Final = 128
_MISSED: Final = 1e-9


def without_duplicates(
    pages: Iterable[Page],
    *,
    threshold: float,
    on_page: Callable[[], None],
    keep: frozenset[str] = frozenset(),
) -> tuple[list[Page], list[Rejection]]:
    """Keep the first page, by date and id, of those that are the same or nearly so.

    A page is compared with those kept before it, so no two kept pages are as alike as
    `threshold`. Chats are as alike as their answers or the whole, whichever is less: many chats
    ask in the same words, and many short answers are the same. Pages whose ids are in `keep` are
    kept all the same. The outcome does not depend on the order of `pages`.
    """
    kept: list[Page] = []
    rejected: list[Rejection] = []
    by_text: dict[str, Page] = {}
    by_id: dict[str, Page] = {}
    near = _Near(threshold)
    for page in sorted(pages, key=_age):
        on_page()
        material, place = page.material, page.place
        text_key = hashlib.sha256(" ".join(material.text.casefold().split()).encode()).hexdigest()
        wanted = material.id in keep
        if (earlier := by_text.get(text_key)) and not (wanted and material.id not in by_id):
            reason = f"Its text is that of {earlier.place.source}."
            rejected.append(place.reject("exact-duplicate", reason, id=material.id))
            continue
        if earlier := by_id.get(material.id):
            rejected.append(
                place.reject(
                    "duplicate-id",
                    f"Its id {material.id!r} is that of {earlier.place.source}, with another text.",
                    id=material.id,
                )
            )
            continue
        found = near.find_or_add(page)
        if found and not wanted:
            earlier, likeness = found
            rejected.append(
                place.reject(
                    "near-duplicate",
                    f"It shares {likeness:.3f} of its 5-word runs with {earlier.place.source}; "
                    f"pages of {threshold:g} or more count as one.",
                    id=material.id,
                    value=round(likeness, 4),
                    threshold=threshold,
                )
            )
            continue
        by_text[text_key] = by_id[material.id] = page
        kept.append(page)
    return kept, rejected


def without_copies(
    pages: Sequence[Document], *, of: Sequence[Document], threshold: float
) -> list[Document]:
    """The pages that repeat neither another one before them nor any of `of`.

    For sets that were deduplicated each by itself and are to be trained on together.
    """
    near = _Near(threshold)
    texts: set[str] = set()

    def is_new(document: Document) -> bool:
        place = Place(path=document.source, line=None, digest=document.sha256)
        seen = document.text in texts
        texts.add(document.text)
        return not seen and near.find_or_add(Page(material=document, place=place)) is None

    for document in of:
        is_new(document)
    return [document for document in pages if is_new(document)]


def _age(page: Page) -> tuple[bool, str, str, str, str, int]:
    """Oldest first, undated last; the rest only makes the order total."""
    material, place = page.material, page.place
    return (
        material.date is None,
        material.date or "",
        material.id,
        material.sha256,
        place.path,
        place.line or 0,
    )


class _Near:
    """The pages kept so far, found again by likeness.

    Locality-sensitive hashing proposes, the exact Jaccard likeness decides.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._index = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(threshold))
        self._kept: list[tuple[Page, frozenset[str], frozenset[str]]] = []

    def find_or_add(self, page: Page) -> tuple[Page, float] | None:
        """The likest kept page and its likeness, or None: then `page` is kept too."""
        material = page.material
        whole = shingles(material.text)
        answers = shingles(material.own_words) if isinstance(material, Chat) else whole
        if not whole:
            return None
        sketch = MinHash(num_perm=_PERMUTATIONS)
        sketch.update_batch([shingle.encode() for shingle in sorted(whole)])
        proposed = cast(list[int], self._index.query(sketch))
        alike = [
            (min(jaccard(whole, self._kept[i][1]), jaccard(answers, self._kept[i][2])), i)
            for i in proposed
        ]
        likeness, nearest = max(alike, key=lambda pair: (pair[0], -pair[1]), default=(0.0, 0))
        if likeness >= self._threshold:
            return self._kept[nearest][0], likeness
        self._index.insert(len(self._kept), sketch)
        self._kept.append((page, whole, answers))
        return None


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared members over all members; 0 for two empty sets."""
    shared = len(a & b)
    return shared / max(1, len(a) + len(b) - shared)


def _bands(threshold: float) -> tuple[int, int]:
    """(bands, rows a band): the longest rows that miss a pair at `threshold` once in 1e9.

    Two pages of likeness s share a band with probability 1 - (1 - s^rows)^bands (Broder 1997;
    Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, 3.4). Longer rows propose fewer
    pairs in vain.
    """
    for rows in range(16, 1, -1):
        bands = _PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands <= _MISSED:
            return bands, rows
    return _PERMUTATIONS, 1
