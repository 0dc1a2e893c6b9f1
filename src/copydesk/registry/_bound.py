"""Is a candidate worse than the live version? A bound that may be asked after every request.

Requests are drawn for the candidate by chance, with a known share s. Under the hypothesis that the
candidate goes wrong at most r times as often as the live version, whatever that rate is and however
it drifts, a request that went wrong was the candidate's with a probability of at most

    q = s r / (s r + 1 - s).

So of the requests that went wrong, in order, the likelihood ratio of any larger probability p to q,
(p / q) for one of the candidate's and (1 - p) / (1 - q) for one of the live version's, is a
nonnegative supermartingale (Wald 1945, "Sequential Tests of Statistical Hypotheses"), and so is the
mean over several p (Robbins 1970, "Statistical Methods Related to the Law of the Iterated
Logarithm"). Ville's inequality (1939) bounds the probability that it ever reaches 1 / alpha by
alpha. Nothing is lost by looking after each request, as would be with a test of fixed length.
"""

import math
from typing import Final

RATIOS: Final = (2.0, 4.0, 8.0, 16.0)
"""How many times as often as allowed the candidate may go wrong, among which the evidence is
spread: it finds what lies between them too, a little later."""


def evidence(candidate: int, live: int, *, share: float, ratio: float) -> float:
    """Natural logarithm of the evidence that a candidate goes wrong more than `ratio` times as
    often as the live version; from log(1 / alpha) on it is worse.

    Args:
        candidate: of its requests, how many went wrong.
        live: of the live version's.
        share: of the requests that the candidate got by chance, in (0, 1).
        ratio: how many times as often is let pass, 1 or more.
    """
    assert 0 < share < 1 <= ratio and candidate >= 0 and live >= 0
    allowed = _probability(share, ratio)
    terms: list[float] = []
    for times in RATIOS:
        worse = _probability(share, ratio * times)
        terms.append(
            candidate * math.log(worse / allowed) + live * math.log((1 - worse) / (1 - allowed))
        )
    highest = max(terms)
    return highest + math.log(math.fsum(math.exp(term - highest) for term in terms) / len(terms))


def _probability(share: float, ratio: float) -> float:
    return share * ratio / (share * ratio + 1 - share)
