"""Pooled losses and their two-stage intervals, beside scipy's, a plain loop and what must hold."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from test_intervals import losses_of, scipy_interval

from copydesk.evaluate import (
    RunLosses,
    gain_share,
    mean_loss,
    mean_loss_interval,
    pooled_interval,
    pooled_mean,
    run_losses,
)
from copydesk.models import ExampleLoss


def one(losses: Sequence[ExampleLoss]) -> list[RunLosses]:
    """One client, one seed."""
    return [run_losses([losses])]


def shifted(losses: Sequence[ExampleLoss], by: float) -> tuple[ExampleLoss, ...]:
    return tuple(
        ExampleLoss(loss=loss.loss + by * loss.tokens, tokens=loss.tokens) for loss in losses
    )


def test_the_interval_of_a_share_is_scipys() -> None:
    base, full = losses_of(3, level=3.0), losses_of(3, level=2.2)
    method = losses_of(3, level=2.4)
    share = gain_share(one(method), one(base), one(full))
    assert share is not None

    def percent(
        m: np.ndarray,
        _mt: np.ndarray,
        b: np.ndarray,
        _bt: np.ndarray,
        f: np.ndarray,
        _ft: np.ndarray,
        axis: int,
    ) -> np.ndarray:
        b_sum = b.sum(axis=axis)
        return 100 * (b_sum - m.sum(axis=axis)) / (b_sum - f.sum(axis=axis))

    low, high = scipy_interval([method, base, full], percent)
    width = high - low
    assert width > 0
    assert share.low == pytest.approx(low, abs=0.06 * width)
    assert share.high == pytest.approx(high, abs=0.06 * width)
    assert share.low < share.value < share.high


def test_full_is_the_whole_gain_and_the_base_none_of_it() -> None:
    base, full = losses_of(4, level=3.0), losses_of(4, level=2.4)
    bases, fulls = one(base), one(full)
    whole = gain_share(fulls, bases, fulls)
    none = gain_share(bases, bases, fulls)
    assert whole is not None and none is not None
    assert (whole.value, whole.low, whole.high) == pytest.approx((100, 100, 100))
    assert (none.value, none.low, none.high) == (0, 0, 0)


def test_half_way_is_half_the_gain() -> None:
    base, full = losses_of(5, level=3.0), losses_of(5, level=2.0)
    middle = tuple(
        ExampleLoss(loss=(b.loss + f.loss) / 2, tokens=b.tokens)
        for b, f in zip(base, full, strict=True)
    )
    share = gain_share(one(middle), one(base), one(full))
    assert share is not None
    assert (share.value, share.low, share.high) == pytest.approx((50, 50, 50))


def test_there_is_no_share_of_no_gain() -> None:
    base, worse = losses_of(6, level=3.0), losses_of(6, level=3.6)
    assert gain_share(one(base), one(base), one(worse)) is None
    assert gain_share(one(worse), one(base), one(base)) is None


def test_one_client_and_one_seed_are_a_plain_mean() -> None:
    losses = losses_of(8)
    pooled, plain = pooled_interval(one(losses)), mean_loss_interval(losses)
    width = plain.high - plain.low
    assert pooled.value == pytest.approx(mean_loss(losses))
    assert pooled.low == pytest.approx(plain.low, abs=0.05 * width)
    assert pooled.high == pytest.approx(plain.high, abs=0.05 * width)


def test_clients_are_pooled_over_tokens_and_seeds_are_averaged() -> None:
    long = [ExampleLoss(loss=20.0, tokens=10), ExampleLoss(loss=40.0, tokens=10)]
    again = [ExampleLoss(loss=30.0, tokens=10), ExampleLoss(loss=50.0, tokens=10)]
    short = [ExampleLoss(loss=5.0, tokens=5)]
    clients = [run_losses([long, again]), run_losses([short])]
    assert pooled_mean(clients) == ((60 + 80) / 2 + 5) / 25


def test_seeds_that_differ_widen_the_interval_as_a_plain_bootstrap_has_it() -> None:
    first = losses_of(9)
    runs = [shifted(first, by) for by in (-0.4, 0.0, 0.3)]
    found = pooled_interval([run_losses(runs)])
    draw = random.Random(3)
    means: list[float] = []
    for _ in range(3000):
        pages = [draw.randrange(len(first)) for _ in first]
        seeds = [draw.choice(runs) for _ in runs]
        total = sum(run[page].loss for run in seeds for page in pages) / len(seeds)
        means.append(total / sum(first[page].tokens for page in pages))
    low, high = np.percentile(means, [2.5, 97.5])
    width = high - low
    assert found.low == pytest.approx(low, abs=0.06 * width)
    assert found.high == pytest.approx(high, abs=0.06 * width)
    alone = pooled_interval(one(first))
    assert found.high - found.low > 1.5 * (alone.high - alone.low)


def test_pages_are_drawn_within_their_client() -> None:
    """Each client's pages are alike, so every draw that keeps their numbers is the same."""
    low, high = [[ExampleLoss(loss=level, tokens=1)] * 6 for level in (1.0, 9.0)]
    found = pooled_interval([run_losses([low]), run_losses([high])])
    assert (found.low, found.value, found.high) == (5, 5, 5)


def test_runs_are_scored_on_the_same_pages() -> None:
    with pytest.raises(AssertionError, match="same documents"):
        run_losses([losses_of(1), losses_of(2)])
