"""A run whose time is up ends with what it has, and the same call goes on to the same end."""

from pathlib import Path

import pytest
import torch
from training import prepared, run_loop, weights

from copydesk.evaluate import mean_loss


@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_is_scored_as_far_as_it_came_and_goes_on(
    tiny_base: Path, tmp_path: Path, method: str
) -> None:
    whole, run = prepared(tiny_base, method, max_steps=9, batch_tokens=300)
    ended = run_loop(whole, run, tmp_path / "whole", seconds=1e9)
    assert not ended.out_of_time and not ended.stopped_early

    cut, run = prepared(tiny_base, method, max_steps=9, batch_tokens=300)
    answers = iter([False, False, True])
    early = run_loop(cut, run, tmp_path / "cut", seconds=1e9, out_of_time=answers.__next__)
    assert early.out_of_time and early.steps == early.kept_step == 3
    assert early.curve[-1].step == 3
    assert early.curve[-1].heldout_loss == pytest.approx(mean_loss(early.heldout))

    again, run = prepared(tiny_base, method, max_steps=9, batch_tokens=300)
    late = run_loop(again, run, tmp_path / "cut", seconds=1e9)
    assert late.resumed_at == 3 and not late.out_of_time
    assert late.heldout == ended.heldout
    assert [point.heldout_loss for point in late.curve] == [
        point.heldout_loss for point in ended.curve
    ], "the scoring at the cut is no part of the run"
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name])


def test_a_run_at_its_last_step_is_not_cut(tiny_base: Path, tmp_path: Path) -> None:
    tuned, run = prepared(tiny_base, "lora", max_steps=2, batch_tokens=300)
    answers = iter([False])
    ended = run_loop(tuned, run, tmp_path, out_of_time=answers.__next__)
    assert ended.steps == 2 and not ended.out_of_time
