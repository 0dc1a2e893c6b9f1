"""Losses of several clients and several seeds, pooled, with two-stage bootstrap intervals.

A figure of a comparison is uncertain twice over: other pages might have been held out, and another
seed would have given other weights. Both are resampled, a stage each (Efron and Tibshirani 1993, An
Introduction to the Bootstrap, section 8.3 on data with more than one level; Davison and Hinkley
1997, section 3.8): of each client, pages with replacement, and of each method and client, the runs
of its seeds with replacement. Clients are not resampled: they are whom the question is about. The
compared methods are scored on the same drawn pages; their seeds are drawn apart.

Shape letters: B bootstrap draws, S seeds, D documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from copydesk.evaluate._intervals import DRAWS, Interval, percentile_interval

if TYPE_CHECKING:
    from copydesk.models import ExampleLoss

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLosses:
    """One client's held-out documents, scored after each run of a method."""

    losses: tuple[tuple[float, ...], ...]
    """[S][D] summed nats."""
    tokens: tuple[int, ...]
    """[D] tokens that they were summed over."""


def run_losses(runs: "Sequence[Sequence[ExampleLoss]]") -> RunLosses:
    """The scores of a client's documents after each of at least one run."""
    tokens = {tuple(loss.tokens for loss in run) for run in runs}
    assert len(tokens) == 1, "runs must be scored on the same documents"
    return RunLosses(
        losses=tuple(tuple(loss.loss for loss in run) for run in runs), tokens=tokens.pop()
    )


def pooled_mean(clients: Sequence[RunLosses]) -> float:
    """Nats a token over all clients' documents, the mean over seeds."""
    total = sum(sum(map(sum, client.losses)) / len(client.losses) for client in clients)
    return total / sum(sum(client.tokens) for client in clients)


def pooled_interval(clients: Sequence[RunLosses], *, seed: int = 0) -> Interval:
    """`pooled_mean` with its interval over documents and seeds."""
    return percentile_interval(pooled_mean(clients), _drawn_means(clients, seed, "method"))


def gain_share(
    method: Sequence[RunLosses],
    base: Sequence[RunLosses],
    full: Sequence[RunLosses],
    *,
    seed: int = 0,
) -> Interval | None:
    """The method's gain over the base as a share of full fine-tuning's, in percent, paired.

    None where full fine-tuning gained nothing, so that there is no share to speak of. Draws in
    which it gained nothing are left out of the interval. Where `method` is `full` or `base` itself,
    the draws are the same ones.
    """
    whole = pooled_mean(base) - pooled_mean(full)
    if whole <= 0:
        return None
    bases = _drawn_means(base, seed, "base")
    fulls = _drawn_means(full, seed, "full")
    role = "full" if method is full else "base" if method is base else "method"
    methods = _drawn_means(method, seed, role)
    gains = bases - fulls
    usable = gains > 0
    shares = 100 * (bases - methods)[usable] / gains[usable]
    return percentile_interval(100 * (pooled_mean(base) - pooled_mean(method)) / whole, shares)


def _drawn_means(clients: Sequence[RunLosses], seed: int, role: str) -> _Floats:
    """[B] means, each over its own draw of every client's documents and seeds."""
    sums: _Floats = np.zeros(DRAWS)
    tokens: _Floats = np.zeros(DRAWS)
    for place, client in enumerate(clients):
        count = len(client.tokens)
        pages_BD = np.random.default_rng([seed, place]).multinomial(
            count, np.full(count, 1 / count), size=DRAWS
        )
        runs = len(client.losses)
        own = np.random.default_rng([seed, place, *role.encode()])
        seeds_BS = own.multinomial(runs, np.full(runs, 1 / runs), size=DRAWS) / runs
        losses_SD: _Floats = np.array(client.losses, dtype=np.float64)
        sums += ((seeds_BS @ losses_SD) * pages_BD).sum(axis=1)
        tokens += pages_BD @ np.array(client.tokens, dtype=np.float64)
    return sums / tokens
