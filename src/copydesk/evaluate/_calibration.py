"""From a score to a probability, and how far stated probabilities are from what happens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from copydesk.evaluate._intervals import Interval

WINDOW: Final = 150
"""Words of a text that are scored at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platt:
    """A logistic curve over scores (Platt 1999), whose slope and place follow the text's length.

    A long text's score is a mean over more windows and varies less, so that the same score says
    more. With n words and l = log2(max(1, n / 150)), the probability is
    1 / (1 + exp(-(slope s + length_slope l s + length l + offset))).
    """

    slope: float
    length_slope: float
    length: float
    offset: float

    def probability(self, score: float, words: int) -> float:
        """The probability at even odds that a text of so many words is the client's."""
        scaled, product, length = terms(score, words)
        logit = (
            self.slope * scaled + self.length_slope * product + self.length * length + self.offset
        )
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


def terms(score: float, words: int) -> tuple[float, float, float]:
    """What the curve is linear in: the score, its product with the length's term, that term."""
    length = math.log2(max(1.0, words / WINDOW))
    return score, score * length, length


def calibration_error(
    probabilities: Sequence[float],
    truths: Sequence[bool],
    *,
    weights: Sequence[float] | None = None,
    bins: int = 10,
) -> float:
    """Expected calibration error (Naeini, Cooper and Hauskrecht 2015), in 0 to 1.

    Probabilities fall into bins of equal width; the error is the mean over bins, by their weight,
    of how far the mean probability lies from the share of truths.

    Args:
        probabilities: what was stated.
        truths: what was the case.
        weights: of each case; all the same where left out.
        bins: how many.
    """
    assert len(probabilities) == len(truths) > 0
    stated = np.asarray(probabilities, dtype=np.float64)
    true = np.asarray(truths, dtype=np.float64)
    weight = np.ones_like(stated) if weights is None else np.asarray(weights, dtype=np.float64)
    which = np.minimum((stated * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(which, weights=weight * (stated - true), minlength=bins)
    return float(np.abs(gaps).sum() / weight.sum())


def share_interval(count: int, total: int) -> Interval:
    """A share of `total` cases and its 95% interval by Wilson's score (Wilson 1927).

    Unlike a bootstrap it has a width where the share is 0 or 1.
    """
    assert 0 <= count <= total and total > 0
    z = 1.959963984540054
    share = count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = (
        z
        / (1 + z * z / total)
        * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    )
    return Interval(
        value=share,
        low=max(0.0, middle - half) if count else 0.0,
        high=min(1.0, middle + half) if count < total else 1.0,
    )
