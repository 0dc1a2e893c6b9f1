"""Figures of several clients and seeds, beside sums by hand."""

import pytest

from copydesk.models import ExampleLoss
from copydesk.records import LossPoint
from copydesk.study._cells import Cell
from copydesk.study._pool import Pool, seconds_until


def cell(seconds: float, tokens: int, losses: list[float], end: int = 4) -> Cell:
    curve = (
        LossPoint(step=0, seconds=0, heldout_loss=4.0),
        LossPoint(step=end // 2, seconds=seconds / 4, train_loss=3.3),
        LossPoint(step=end, seconds=seconds, heldout_loss=losses[0] / 10),
    )
    return Cell(
        status="done",
        seconds=seconds + 1,
        heldout=tuple(ExampleLoss(loss=loss, tokens=10) for loss in losses),
        train_seconds=seconds,
        tokens=tokens,
        curve=curve,
    )


def test_sums_over_clients_are_of_means_over_seeds() -> None:
    pool = Pool(runs=((cell(10, 100, [20]), cell(20, 100, [30])), (cell(5, 50, [10]),)))
    assert pool.seeds == 1
    assert pool.total(lambda one: one.train_seconds) == 20
    assert pool.total(lambda one: one.tokens) == 150
    assert pool.epoch_seconds([1000, 40]) == pytest.approx(1000 * 30 / 200 + 40 * 5 / 50)


def test_one_clients_curve_is_its_own() -> None:
    first = cell(10, 100, [20])
    assert Pool(runs=((first, cell(20, 100, [30])),)).curve() == first.curve


def test_several_clients_curve_is_over_shares_of_the_run() -> None:
    pool = Pool(runs=((cell(10, 100, [20], end=4),), (cell(30, 50, [30, 30], end=8),)))
    curve = pool.curve()
    assert (curve[0].seconds, curve[0].heldout_loss) == (0, 4.0)
    assert curve[-1].seconds == pytest.approx(40)
    assert curve[-1].heldout_loss == pytest.approx((2 * 10 + 3 * 20) / 30)
    middle = curve[len(curve) // 2]
    # Half of the steps took a quarter of the time; the loss is half-way on its straight line.
    assert middle.seconds == pytest.approx(10)
    assert middle.heldout_loss == pytest.approx((3 * 10 + 3.5 * 20) / 30)


def test_the_time_until_a_loss_lies_between_scorings() -> None:
    curve = cell(40, 100, [20]).curve
    assert seconds_until(curve, 3.0) == pytest.approx(20)
    assert seconds_until(curve, 2.0) == pytest.approx(40)
    assert seconds_until(curve, 1.9) is None
    assert seconds_until(curve, 5.0) == 0
    assert seconds_until((), 5.0) is None
