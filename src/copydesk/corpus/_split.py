"""Which pages are held out: the newest, or drawn by a seed; the same story on one side."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from copydesk.corpus._signals import shingle_hashes
from copydesk.records import Material


def heldout_ids(
    material: Sequence[Material],
    count: int,
    *,
    split: Literal["time", "seed"],
    seed: int,
    near_duplicate: float | None = None,
) -> frozenset[str]:
    """The ids of `count` pages to hold out.

    Args:
        material: oldest first, with unique ids.
        count: how many.
        split: `time` takes the newest, `seed` those whose hashed ids sort first.
        seed: of the draw.
        near_duplicate: where pages may be near-duplicates, because the user kept them: the likeness
            from which two tell one story. Such pages are trained on together, and the next take
            their place; where too few are left, fewer are held out.
    """
    twins = _twins(material, near_duplicate) if near_duplicate is not None else frozenset[str]()
    if split == "time":
        order = [item.id for item in reversed(material)]
    else:
        # A hash of each id, not a shuffle of the list: a page that is added moves few others.
        order = sorted(
            (item.id for item in material),
            key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest(),
        )
    return frozenset([name for name in order if name not in twins][:count])


def _twins(material: Sequence[Material], threshold: float) -> frozenset[str]:
    """Ids of the pages that another is as alike as `threshold`."""
    shingles = [shingle_hashes(item.text) for item in material]
    owners = np.repeat(np.arange(len(material)), [len(one) for one in shingles])
    if not len(owners):
        return frozenset()
    together = np.concatenate(shingles)
    order = np.argsort(together, kind="stable")
    together, owners = together[order], owners[order]
    shared: dict[tuple[int, int], int] = {}
    starts = np.flatnonzero(np.concatenate(([True], together[1:] != together[:-1])))
    for start, end in zip(starts, np.append(starts[1:], len(together)), strict=True):
        for at in range(start, end):
            for other in range(at + 1, end):
                pair = (int(owners[at]), int(owners[other]))
                shared[pair] = shared.get(pair, 0) + 1
    return frozenset(
        material[page].id
        for (a, b), count in shared.items()
        if count >= threshold * (len(shingles[a]) + len(shingles[b]) - count)
        for page in (a, b)
    )
