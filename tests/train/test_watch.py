"""Early stopping and exploding losses, on curves and in runs."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from training import examples_for, prepared, run_loop, weights

from copydesk.errors import Diverged, InvalidInput
from copydesk.evaluate import mean_loss, score
from copydesk.records import LossPoint
from copydesk.train import train
from copydesk.train._watch import MARGIN, STEPS, DivergenceWatch, best_of


def curve(losses: list[float], before: float = 3.0) -> list[LossPoint]:
    first = LossPoint(step=0, seconds=0.0, heldout_loss=before)
    rest = [LossPoint(step=n + 1, seconds=1.0, train_loss=loss) for n, loss in enumerate(losses)]
    return [first, *rest]


def diverged_at(losses: list[float]) -> int | None:
    watch = DivergenceWatch([])
    for point in curve(losses):
        if watch.add(point):
            return point.step
    return None


def test_a_loss_that_explodes_is_seen_and_noise_is_not() -> None:
    noise = random.Random(1)
    usual = [3.0 - 0.01 * step + noise.gauss(0, 0.3) for step in range(100)]
    assert diverged_at(usual) is None
    spike = [*usual[:50], 9.0, 8.0, *usual[50:]]
    assert diverged_at(spike) is None
    exploded = diverged_at([*usual[:20], *[7.0] * 40])
    assert exploded is not None and 20 + STEPS <= exploded <= 20 + STEPS + 3
    slow = [3.0 + MARGIN / 2] * 200
    assert diverged_at(slow) is None
    assert diverged_at([3.0, 3.5, *[3.0 + MARGIN + 0.2] * 40]) is not None


def test_a_resumed_watch_counts_on() -> None:
    points = curve([3.0] * 5 + [8.0] * 9)
    whole, resumed = DivergenceWatch(points), DivergenceWatch(points[:9])
    for point in points[9:]:
        resumed.add(point)
    assert resumed.steps_above == whole.steps_above > 0


def test_a_run_whose_loss_explodes_stops_with_advice(tiny_base: Path, tmp_path: Path) -> None:
    steps = {"epochs": 100, "max_steps": 60, "batch_tokens": 300}
    tuned, run = prepared(tiny_base, "lora", **steps)
    run_loop(tuned, run, tmp_path / "usual", seconds=1e9)
    _, run = prepared(tiny_base, "lora", learning_rate=0.3, **steps)
    with pytest.raises(Diverged, match=r"far above where it started.*learning_rate=0\.1"):
        run_loop(tuned, run, tmp_path / "wild", seconds=1e9)
    lines = (tmp_path / "wild" / "metrics.jsonl").read_text().splitlines()
    assert STEPS <= len(lines) < 60


def test_the_best_point_and_the_scorings_since() -> None:
    points = [
        LossPoint(step=step, seconds=0.0, train_loss=1.0, heldout_loss=loss)
        for step, loss in enumerate([0.1, 3.0, None, 2.0, 2.5, 2.0, None])
    ]
    best = best_of(points)
    assert best is not None
    assert (best.step, best.loss, best.scorings_since) == (3, 2.0, 2)
    assert best_of(points[:1]) is None


@pytest.mark.parametrize("stop", [None, 5, 9])
def test_early_stopping_keeps_the_best_weights(
    tiny_base: Path, tmp_path: Path, stop: int | None
) -> None:
    settings: dict[str, Any] = {
        **{"epochs": 100, "max_steps": 90, "batch_tokens": 200, "learning_rate": 0.1},
        **{"eval_steps": 2, "early_stopping_patience": 2, "lr_scheduler": "constant"},
    }
    if stop is not None:
        part, run = prepared(tiny_base, "full", **settings)
        with pytest.raises(KeyboardInterrupt):
            run_loop(part, run, tmp_path, stop_at=stop, seconds=1e9)
    tuned, run = prepared(tiny_base, "full", **settings)
    result = run_loop(tuned, run, tmp_path, seconds=1e9)
    scored = {p.step: p.heldout_loss for p in result.curve if p.step and p.heldout_loss}
    assert result.stopped_early and result.steps == result.kept_step + 4 < 90
    assert result.resumed_at == (stop or 0)
    assert scored[result.kept_step] == min(scored.values())
    assert mean_loss(result.heldout) == scored[result.kept_step]
    assert mean_loss(score(tuned, examples_for(tuned, 3, first=50))) == scored[result.kept_step]
    plain, run = prepared(tiny_base, "full", **settings | {"early_stopping_patience": None})
    with pytest.raises(KeyboardInterrupt):
        run_loop(plain, run, tmp_path / "plain", stop_at=result.kept_step, seconds=1e9)
    for name, value in weights(plain).items():
        assert torch.equal(value, weights(tuned)[name]), name


def test_early_stopping_without_held_out_pages_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    tuned, run = prepared(tiny_base, "lora", early_stopping_patience=2)
    with pytest.raises(InvalidInput, match="needs held-out pages"):
        train(tuned, examples_for(tuned), [], run=run, run_digest="r", folder=tmp_path, task="test")
