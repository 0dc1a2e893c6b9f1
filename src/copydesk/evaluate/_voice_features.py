"""What of a masked text speaks for a voice: character n-grams and runs of function words.

Character n-grams are the features that attribute best and need no grammar (Koppel, Schler and
Argamon 2009, "Computational Methods in Authorship Attribution"; Stamatatos 2013, "On the Robustness
of Authorship Attribution Based on Character N-gram Features"). Function words and their order are
the oldest ones (Mosteller and Wallace 1964). Counts are dampened, weighed by how rare a feature is
and brought to length 1, apart for each kind.

Shape letters: N texts, F features.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

CHARACTERS: Final = (2, 3, 4, 5)
"""Lengths of character n-grams."""
WORDS: Final = (1, 2, 3)
"""Lengths of word n-grams."""
MOST_CHARACTERS: Final = 4000
MOST_WORDS: Final = 2000
"""How many n-grams of each kind are used: those that stand in the most texts. Stamatatos (2013)
finds that results settle at a few thousand."""
_LEAST_TEXTS: Final = 3
_CONTENT: Final = frozenset("xX#")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The features that are looked at, in the order of a vector's places."""

    characters: tuple[str, ...]
    words: tuple[str, ...]
    """Words joined by blanks; content words as their masks."""
    rarity_F: Floats
    """Inverse document frequency, ln((1 + N) / (1 + n)) + 1, characters first."""
    _character_places: dict[str, int] = field(init=False, repr=False, compare=False)
    _word_places: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {name: at for at, name in enumerate(self.characters)}
        object.__setattr__(self, "_character_places", places)
        first = len(self.characters)
        places = {name: first + at for at, name in enumerate(self.words)}
        object.__setattr__(self, "_word_places", places)

    @classmethod
    def of(cls, masked: Sequence[str]) -> "Vocabulary":
        """The n-grams that stand in the most of these masked texts."""
        characters = _frequent(map(character_counts, masked), MOST_CHARACTERS)
        words = _frequent(map(word_counts, masked), MOST_WORDS)
        texts = len(masked)
        found = np.array([n for _, n in (*characters, *words)], dtype=np.float32)
        return cls(
            characters=tuple(name for name, _ in characters),
            words=tuple(name for name, _ in words),
            rarity_F=(np.log((1 + texts) / (1 + found)) + 1).astype(np.float32),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What stands at each place of a vector."""
        return self.characters + self.words

    def vector(self, masked: str) -> Floats:
        """A masked text as a vector [F]; its characters' part and its words' part have length 1."""
        vector_F = np.zeros(len(self.rarity_F), dtype=np.float32)
        first = len(self.characters)
        parts = (
            (character_counts(masked), self._character_places, slice(None, first)),
            (word_counts(masked), self._word_places, slice(first, None)),
        )
        for counts, places, part in parts:
            for name, count in counts.items():
                place = places.get(name)
                if place is not None:
                    vector_F[place] = (1 + math.log(count)) * self.rarity_F[place]
            norm = float(np.linalg.norm(vector_F[part]))
            if norm:
                vector_F[part] /= norm
        return vector_F


def character_counts(masked: str) -> Counter[str]:
    """How often each character n-gram stands in a masked text.

    Runs inside one content word say only how long it is, and are left out.
    """
    padded = f" {masked} "
    counts: Counter[str] = Counter()
    for length in CHARACTERS:
        counts.update(padded[at : at + length] for at in range(len(padded) - length + 1))
    return Counter({name: n for name, n in counts.items() if not _CONTENT.issuperset(name)})


def word_counts(masked: str) -> Counter[str]:
    """How often each run of words stands in a masked text; a run holds a function word."""
    tokens = [_token(word) for word in masked.split()]
    counts: Counter[str] = Counter()
    for length in WORDS:
        for at in range(len(tokens) - length + 1):
            run = tokens[at : at + length]
            if any(token != "_" for token in run):
                counts[" ".join(run)] += 1
    return counts


def _token(word: str) -> str:
    """A function word as it is; anything else as `_`, with the punctuation that ends it."""
    bare = word.strip(".,;:!?()\"'")
    ending = word[-1] if word[-1] in ".,;:!?" else ""
    return (bare if bare and not _CONTENT.intersection(bare) else "_") + ending


def _frequent(counted: Any, most: int) -> list[tuple[str, int]]:
    texts: Counter[str] = Counter()
    for counts in counted:
        texts.update(counts.keys())
    found = [(name, n) for name, n in texts.items() if n >= _LEAST_TEXTS]
    return sorted(found, key=lambda item: (-item[1], item[0]))[:most]
