"""Time shared out, by a clock that the test turns."""

import pytest

from copydesk.study._budget import Budget


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_shares_are_of_what_is_left() -> None:
    clock = Clock()
    budget = Budget(60, clock=clock)
    first = budget.share(1, 4)
    assert first.seconds == 15 and not first()
    clock.now += 14.9
    assert not first()
    clock.now += 0.1
    assert first()
    assert budget.left == 45
    assert budget.share(1, 3).seconds == 15


def test_what_one_leaves_the_others_get() -> None:
    clock = Clock()
    budget = Budget(60, clock=clock)
    budget.share(1, 3)
    clock.now += 5  # it needed no more
    assert budget.share(1, 2).seconds == pytest.approx(27.5)
    clock.now += 45
    assert budget.share(2, 2).seconds == 10


def test_scoring_is_taken_off_and_nothing_is_below_none() -> None:
    clock = Clock()
    budget = Budget(60, clock=clock)
    assert budget.share(1, 2, less=10).seconds == 20
    assert budget.share(1, 2, less=40).seconds == 0
    clock.now += 100
    assert budget.left == 0
    assert budget.share(1, 1)(), "it is up at once"


def test_without_a_budget_there_is_no_end() -> None:
    clock = Clock()
    budget = Budget(None, clock=clock)
    allowance = budget.share(1, 2)
    clock.now += 1e9
    assert allowance.seconds is None and budget.left is None
    assert not allowance()
