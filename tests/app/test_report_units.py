"""Numbers as people read them, and ticks at round places."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.app.report import _units
from copydesk.app.report._axes import padded, ticks, time_ticks
from copydesk.app.report._curves import _apart  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (_units.count(4_884_480), "4.9 M"),
        (_units.count(134_515_008), "135 M"),
        (_units.count(999_600), "1 M"),
        (_units.count(0), "0"),
        (_units.data(1_200_000_000), "1.2 GB"),
        (_units.data(19_600_000), "20 MB"),
        (_units.data(512), "512 B"),
        (_units.data(None), "\u2014"),
        (_units.duration(0.84), "0.8 s"),
        (_units.duration(59.7), "1 min"),
        (_units.duration(200), "3 min 20 s"),
        (_units.duration(3_599.6), "1 h"),
        (_units.duration(3_900), "1 h 5 min"),
        (_units.duration(math.inf), "\u2014"),
        (_units.change(0.012), "+0.012"),
        (_units.change(-0.094), "\u22120.094"),
        (_units.change(-0.0001), "0.000"),
        (_units.change(None), "\u2014"),
        (_units.interval((-0.5, 0.25), 2), "\u22120.50 to 0.25"),
        (_units.interval((math.nan, 1.0), 2), ""),
        (_units.percent(93.2), "93%"),
        (_units.money(0.00418), "$0.0042"),
        (_units.money(0.41), "$0.41"),
        (_units.money(0.0), "$0.00"),
        (_units.money(math.nan), "\u2014"),
        (_units.whole(282.4), "282"),
        (_units.whole(3.44), "3.4"),
        (_units.points(-0.041), "\u22124 points"),
        (_units.points(0.01), "+1 point"),
        (_units.points(None), "\u2014"),
        (_units.deviation(200.0, 214.0), "+7%"),
        (_units.deviation(200.0, 150.0), "\u221225%"),
        (_units.money(75.0), "$75"),
        (_units.rate(5e-5), "5e-05"),
        (_units.moment("2026-11-24T11:05:00+00:00"), "24 November 2026, 11:05 UTC"),
        (_units.moment("yesterday"), "yesterday"),
        (_units.plural(1, "page"), "1 page"),
        (_units.plural(1200, "page"), "1,200 pages"),
    ],
)
def test_numbers_read_well(made: str, expected: str) -> None:
    assert made == expected


@given(st.lists(st.floats(-1e6, 1e6), max_size=8), st.integers(2, 8))
def test_ticks_lie_inside_and_differ(values: list[float], about: int) -> None:
    low, high = padded(values, 0.06)
    made = ticks(low, high, about)
    assert 1 <= len(made) <= about + 2
    assert all(low - 1e-6 <= value <= high + 1e-6 for value, _ in made)
    assert len({label for _, label in made}) == len(made)


@given(st.floats(0.05, 1e7), st.integers(2, 8))
def test_time_ticks_start_at_nothing_and_stay_inside(seconds: float, about: int) -> None:
    made = time_ticks(seconds, about)
    assert made[0] == (0.0, "0")
    assert len(made) <= about + 1
    assert all(value <= seconds * (1 + 1e-6) for value, _ in made)
    assert len({label for _, label in made}) == len(made)


@given(st.lists(st.floats(20, 300), max_size=9).map(sorted))
def test_names_stand_apart_in_their_order(levels: list[float]) -> None:
    placed = _apart(levels, 17.0, 20.0, 316.0)
    assert all(after - before >= 17 - 1e-6 for before, after in zip(placed, placed[1:]))  # noqa: B905, RUF007
