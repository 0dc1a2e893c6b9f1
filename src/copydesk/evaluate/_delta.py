"""Two measures of likeness that share nothing with the voice model, to check it by.

Both look at masked text, so that topic does not decide. Neither is trained to tell anything apart:
Delta compares how often frequent words are used, the compression distance what a compressor finds
to repeat.

Shape letters: P texts, W words.
"""

import lzma
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from copydesk.errors import NotEnoughText
from copydesk.evaluate._masking import FUNCTION_WORDS, prose, words

MOST_FREQUENT: Final = 150
"""Words that Delta looks at; Burrows used the 150 most frequent."""
_LZMA: Final = [{"id": lzma.FILTER_LZMA2, "preset": 9}]


@dataclass(frozen=True, slots=True, kw_only=True)
class BurrowsDelta:
    """Burrows's Delta to several authors (Burrows 2002, "'Delta': a Measure of Stylistic Difference
    and a Guide to Likely Authorship").

    Each word's share of a text is turned into z by its mean and deviation over all texts; Delta is
    the mean absolute difference of a text's z from the author's mean z. Only function words count.
    """

    words: tuple[str, ...]
    mean_W: npt.NDArray[np.float64]
    deviation_W: npt.NDArray[np.float64]
    profiles: Mapping[str, npt.NDArray[np.float64]]
    """Author -> mean z [W]."""

    @classmethod
    def fit(cls, authors: Mapping[str, Sequence[str]]) -> "BurrowsDelta":
        """Learn from author -> texts, Markdown; each author weighs the same.

        Raises:
            NotEnoughText: fewer than two authors, or one without a text.
        """
        if len(authors) < 2 or not all(authors.values()):
            raise NotEnoughText(
                "Delta needs two authors or more, each with a text", todo="Give more texts."
            )
        counted = {name: [_counts(text) for text in texts] for name, texts in authors.items()}
        used: Counter[str] = Counter()
        for texts in counted.values():
            for counts in texts:
                total = max(1, counts.total())
                for word in counts.keys() & FUNCTION_WORDS:
                    used[word] += round(1e9 * counts[word] / total / len(texts))
        frequent = sorted(used, key=lambda word: (-used[word], word))[:MOST_FREQUENT]
        shares = {
            name: np.array([_shares(counts, frequent) for counts in texts])
            for name, texts in counted.items()
        }
        means = np.array([rows_PW.mean(axis=0) for rows_PW in shares.values()])
        mean_W = means.mean(axis=0)
        # Over texts, each author's weighing as much as another's.
        spread = np.array([((rows - mean_W) ** 2).mean(axis=0) for rows in shares.values()])
        deviation_W = np.maximum(np.sqrt(spread.mean(axis=0)), 1e-9)
        return cls(
            words=tuple(frequent),
            mean_W=mean_W,
            deviation_W=deviation_W,
            profiles={
                name: (row_W - mean_W) / deviation_W
                for name, row_W in zip(shares, means, strict=True)
            },
        )

    def distances(self, text: str) -> dict[str, float]:
        """Author -> Delta of a Markdown text; the nearest is the likeliest."""
        z_W = (np.array(_shares(_counts(text), self.words)) - self.mean_W) / self.deviation_W
        return {name: float(np.abs(z_W - own).mean()) for name, own in self.profiles.items()}


def compression_distance(one: str, other: str) -> float:
    """Normalised compression distance of two strings (Cilibrasi and Vitanyi 2005).

    (C(xy) - min(C(x), C(y))) / max(C(x), C(y)) with C the bytes that LZMA needs: near 0 for the
    same, near 1 for what has nothing in common. Compare only against strings of equal length.
    """
    first, second = one.encode(), other.encode()
    sizes = sorted((_compressed(first), _compressed(second)))
    return (_compressed(first + second) - sizes[0]) / sizes[1]


def _compressed(raw: bytes) -> int:
    return len(lzma.compress(raw, format=lzma.FORMAT_RAW, filters=_LZMA))


def _counts(text: str) -> Counter[str]:
    return Counter(word.lower() for word in words(prose(text)))


def _shares(counts: Counter[str], frequent: Sequence[str]) -> list[float]:
    total = max(1, counts.total())
    return [counts[word] / total for word in frequent]
