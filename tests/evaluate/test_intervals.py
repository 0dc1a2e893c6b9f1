"""Bootstrap intervals beside scipy's, and what shares of a gain must be by definition."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from copydesk.evaluate import loss_difference, mean_loss, mean_loss_interval
from copydesk.models import ExampleLoss


def losses_of(seed: int, count: int = 24, level: float = 3.0) -> tuple[ExampleLoss, ...]:
    """Pages of unequal length; the same seed gives the same lengths at every level."""
    draw = random.Random(seed)
    tokens = [draw.randint(20, 400) for _ in range(count)]
    noise = random.Random(f"{seed}/{level}")
    return tuple(ExampleLoss(loss=n * noise.gauss(level, 0.3), tokens=n) for n in tokens)


def scipy_interval(groups: Sequence[Sequence[ExampleLoss]], figure: object) -> tuple[float, float]:
    """scipy's percentile interval of a figure of paired (sums, tokens) columns."""
    columns = [
        np.array([getattr(loss, name) for loss in group], dtype=float)
        for group in groups
        for name in ("loss", "tokens")
    ]
    result = bootstrap(
        columns,
        figure,
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        random_state=np.random.default_rng(99),
    )
    interval = result.confidence_interval
    return float(interval.low), float(interval.high)


def test_the_mean_is_over_tokens_not_pages() -> None:
    pages = (ExampleLoss(loss=10.0, tokens=1), ExampleLoss(loss=30.0, tokens=9))
    assert mean_loss(pages) == 4.0


def test_the_interval_of_a_mean_is_scipys() -> None:
    losses = losses_of(1)
    interval = mean_loss_interval(losses)
    low, high = scipy_interval(
        [losses], lambda sums, tokens, axis: sums.sum(axis=axis) / tokens.sum(axis=axis)
    )
    width = high - low
    assert interval.value == pytest.approx(mean_loss(losses))
    assert interval.low == pytest.approx(low, abs=0.04 * width)
    assert interval.high == pytest.approx(high, abs=0.04 * width)


def test_the_interval_of_a_difference_is_paired() -> None:
    before = losses_of(2)
    draw = random.Random(8)
    after = tuple(
        ExampleLoss(loss=loss.loss - loss.tokens * draw.gauss(0.3, 0.02), tokens=loss.tokens)
        for loss in before
    )
    interval = loss_difference(after, before)

    def difference(
        a: np.ndarray, a_tokens: np.ndarray, b: np.ndarray, b_tokens: np.ndarray, axis: int
    ) -> np.ndarray:
        return a.sum(axis=axis) / a_tokens.sum(axis=axis) - b.sum(axis=axis) / b_tokens.sum(
            axis=axis
        )

    low, high = scipy_interval([after, before], difference)
    assert interval.value == pytest.approx(mean_loss(after) - mean_loss(before))
    assert interval.low == pytest.approx(low, abs=0.05 * (high - low))
    assert interval.high == pytest.approx(high, abs=0.05 * (high - low))
    alone = mean_loss_interval(after)
    assert interval.high - interval.low < 0.3 * (alone.high - alone.low), "pairing narrows it"


def test_one_seed_one_interval() -> None:
    losses = losses_of(7)
    assert mean_loss_interval(losses) == mean_loss_interval(losses)
    assert mean_loss_interval(losses) != mean_loss_interval(losses, seed=1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.01, 12), st.integers(1, 500)),
        min_size=1,
        max_size=12,
    )
)
def test_an_interval_lies_within_the_pages(pages: list[tuple[float, int]]) -> None:
    losses = [ExampleLoss(loss=rate * tokens, tokens=tokens) for rate, tokens in pages]
    interval = mean_loss_interval(losses)
    rates = [rate for rate, _ in pages]
    slack = 1e-9
    assert min(rates) - slack <= interval.low <= interval.high <= max(rates) + slack
    assert min(rates) - slack <= interval.value <= max(rates) + slack
    if len(pages) == 1:
        assert interval.low == pytest.approx(interval.value)


def test_losses_of_other_pages_are_not_paired() -> None:
    with pytest.raises(AssertionError, match="same documents"):
        loss_difference(losses_of(1), losses_of(2))
