"""Scaled content: drafts of a batch that say the same, or the same of another place.

Google's spam policies name both: scaled content abuse, and doorway pages made for regions or
cities. Drafts are looked at one after another; of each only a sketch of fixed size is kept.
"""

import hashlib
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from copydesk.content._folding import fold_words
from copydesk.content._rules import Rule, RuleBook
from copydesk.records import Finding

_HASHES: Final = 256
"""Values of a MinHash sketch; the similarity's standard error is at most 1/(2 sqrt 256) = 0.03."""
_SHINGLE: Final = 3
_REMEMBERED: Final = 10_000
"""Drafts that a new one is compared with: 40 MB of sketches at most."""
_LEAST_WORDS: Final = 40
_PRIME: Final = (1 << 61) - 1
_NAME: Final = re.compile(r"(?<![.!?:#*\n\-] )(?<![.!?:#*\n\-])(?<=\s)[A-Z][\w'\u2019-]*")
Sketch = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    label: str
    whole: Sketch
    nameless: Sketch
    names: frozenset[str]


class Batch:
    """Remembers the drafts of a batch and says which are copies of one another."""

    def __init__(self, rules: RuleBook) -> None:
        """Start an empty batch.

        Args:
            rules: for `google/near-duplicate` and `google/doorway`.
        """
        self._near = rules.rules["google/near-duplicate"]
        self._doorway = rules.rules["google/doorway"]
        self._seen: deque[_Seen] = deque(maxlen=_REMEMBERED)
        draw = np.random.default_rng(0)
        self._factors = draw.integers(1, _PRIME, _HASHES, dtype=np.uint64) | np.uint64(1)
        self._offsets = draw.integers(0, _PRIME, _HASHES, dtype=np.uint64)

    def add(self, label: str, text: str, *, title: str = "") -> tuple[Finding, ...]:
        """Compare a draft with those before it, then remember it.

        Args:
            label: what to call it in findings of later drafts, e.g. its path.
            text: Markdown.
            title: names in it are names.

        Returns:
            At most one finding, about the likest draft before it.
        """
        words = fold_words(text)
        if len(words) < _LEAST_WORDS:
            return ()
        names = _names(f"{title}\n {text}")
        nameless = [word if word not in names else "\u2022" for word in words]
        draft = _Seen(
            label=label, whole=self._sketch(words), nameless=self._sketch(nameless), names=names
        )
        finding = self._likest(draft)
        self._seen.append(draft)
        return (finding,) if finding else ()

    def _likest(self, draft: _Seen) -> Finding | None:
        if not self._seen:
            return None
        alike = [float((seen.nameless == draft.nameless).mean()) for seen in self._seen]
        place = int(np.argmax(alike))
        seen, doorway = self._seen[place], self._doorway
        differing = draft.names ^ seen.names
        if doorway.on and alike[place] >= doorway.number("similarity") and differing:
            shown = ", ".join(sorted(differing)[:4])
            return _finding(
                doorway,
                f"But for names ({shown}) this is {seen.label} again ({alike[place]:.0%} alike)."
                " Pages that differ by place are doorway pages: say what is true here alone,"
                " or make one page of them.",
            )
        whole = [float((seen.whole == draft.whole).mean()) for seen in self._seen]
        place = int(np.argmax(whole))
        if self._near.on and whole[place] >= self._near.number("similarity"):
            return _finding(
                self._near,
                f"This is {self._seen[place].label} again ({whole[place]:.0%} alike). Many pages"
                " that add nothing are scaled content abuse: merge them, or say something new.",
            )
        return None

    def _sketch(self, words: Sequence[str]) -> Sketch:
        """MinHash (Broder, 1997) of the words' shingles, by multiply-shift hashing modulo 2^64."""
        shingles = {_hashed(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1)}
        values = np.fromiter(shingles, dtype=np.uint64, count=len(shingles))
        mixed = values[:, None] * self._factors + self._offsets
        return (mixed ^ (mixed >> np.uint64(29))).min(axis=0)


def _hashed(words: Sequence[str]) -> int:
    """64 bits of a few words, the same in every process."""
    digest = hashlib.blake2b(" ".join(words).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _names(text: str) -> frozenset[str]:
    """Folded words that are written with a capital where no sentence starts."""
    found = (word for match in _NAME.finditer(text) for word in fold_words(match.group()))
    return frozenset(word for word in found if len(word) > 1)


def _finding(rule: Rule, message: str) -> Finding:
    family, _, name = rule.name.partition("/")
    return Finding(
        family=family,
        rule=name,
        severity=rule.severity,
        start=0,
        end=0,
        message=message,
        source=rule.source,
        date=rule.date,
    )
