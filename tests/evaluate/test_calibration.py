"""Probabilities, their error, and intervals of shares."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.evaluate import calibration_error, share_interval
from copydesk.evaluate._calibration import Platt

Z = 1.959963984540054


@given(st.integers(1, 400), st.data())
def test_wilsons_bounds_are_where_the_score_test_turns(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    found = share_interval(count, total)
    assert 0 <= found.low <= found.value <= found.high <= 1
    for bound in (found.low, found.high):
        if 0 < bound < 1:
            distance = abs(found.value - bound)
            assert distance == pytest.approx(
                Z * math.sqrt(bound * (1 - bound) / total), rel=1e-6, abs=1e-9
            )


def test_a_share_of_all_or_none_has_a_width() -> None:
    assert share_interval(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert share_interval(10, 10).low == pytest.approx(0.7225, abs=1e-4)


def test_calibration_error_bin_by_bin() -> None:
    drawn = random.Random(3)
    stated = [drawn.random() for _ in range(500)] + [1.0, 0.0]
    truths = [drawn.random() < p * p for p in stated]
    weights = [drawn.uniform(0.1, 2) for _ in stated]
    expected = 0.0
    for low in range(10):
        rows = [
            (p, t, w)
            for p, t, w in zip(stated, truths, weights, strict=True)
            if low / 10 <= p < (low + 1) / 10 or (low == 9 and p == 1)
        ]
        mass = sum(w for _, _, w in rows)
        gap = sum(w * p for p, _, w in rows) / mass - sum(w for _, t, w in rows if t) / mass
        expected += mass / sum(weights) * abs(gap)
    assert calibration_error(stated, truths, weights=weights) == pytest.approx(expected)
    assert calibration_error([0.25] * 8, [True, True] + [False] * 6) == 0
    assert calibration_error([0.9] * 4, [False] * 4) == pytest.approx(0.9)


def test_length_steepens_the_curve_only_beyond_a_window() -> None:
    platt = Platt(slope=1.0, length_slope=0.5, length=-0.2, offset=0.1)
    assert platt.probability(2.0, 80) == platt.probability(2.0, 150)
    assert platt.probability(2.0, 150) == pytest.approx(1 / (1 + math.exp(-2.1)))
    assert platt.probability(2.0, 600) == pytest.approx(1 / (1 + math.exp(-(2 + 2 - 0.4 + 0.1))))
    assert platt.probability(1e9, 600) > 0.999
