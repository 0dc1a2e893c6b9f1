"""The loop against a plain one, and against being interrupted."""

import json
from pathlib import Path

import pytest
import torch
from training import CPU, examples_for, prepared, run_loop, weights

from copydesk.errors import Diverged, InvalidInput, UnknownName
from copydesk.models import Encoded
from copydesk.train import PeakMemory, make_settings, train
from copydesk.train._plan import plan_steps, rate_at


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_that_was_stopped_ends_bit_equal(
    tiny_base: Path, tmp_path: Path, method: str
) -> None:
    dropout = {"lora_dropout": 0.2} if method == "lora" else {}
    options = {"epochs": 3, "batch_tokens": 200, **dropout}
    whole, run = prepared(tiny_base, method, **options)
    expected = run_loop(whole, run, tmp_path / "whole", seconds=1e9)
    stops = (1, 4, 5, expected.steps - 1)
    for stop in stops:
        part, run = prepared(tiny_base, method, **options)
        with pytest.raises(KeyboardInterrupt):
            run_loop(part, run, tmp_path / "part", stop_at=stop, seconds=1e9)
    last, run = prepared(tiny_base, method, **options)
    result = run_loop(last, run, tmp_path / "part", seconds=1e9)
    assert result.resumed_at == stops[-1]
    assert result.tokens == expected.tokens
    losses = [(point.step, point.train_loss, point.heldout_loss) for point in result.curve]
    assert losses == [(p.step, p.train_loss, p.heldout_loss) for p in expected.curve]
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(last)[name]), name


def test_dropout_follows_the_seed_and_the_step(tiny_base: Path, tmp_path: Path) -> None:
    def losses(folder: str, **overrides: object) -> list[float | None]:
        tuned, run = prepared(
            tiny_base, "lora", max_steps=4, batch_tokens=200, lora_dropout=0.5, **overrides
        )
        return [point.train_loss for point in run_loop(tuned, run, tmp_path / folder).curve]

    torch.manual_seed(1)
    first = losses("a")
    torch.manual_seed(2)
    assert losses("b") == first
    assert losses("c", seed=5) != first


def test_a_damaged_checkpoint_is_passed_over(tiny_base: Path, tmp_path: Path) -> None:
    whole, run = prepared(tiny_base, "lora", epochs=2, batch_tokens=200)
    run_loop(whole, run, tmp_path / "whole", seconds=1e9)
    part, run = prepared(tiny_base, "lora", epochs=2, batch_tokens=200)
    with pytest.raises(KeyboardInterrupt):
        run_loop(part, run, tmp_path / "part", stop_at=6)
    checkpoints = sorted((tmp_path / "part").glob("checkpoint-*"))
    assert [path.name for path in checkpoints] == ["checkpoint-00000005", "checkpoint-00000006"]
    state = checkpoints[-1] / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-3] ^= 1
    state.write_bytes(content)
    again, run = prepared(tiny_base, "lora", epochs=2, batch_tokens=200)
    assert run_loop(again, run, tmp_path / "part").resumed_at == 5
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_a_checkpoint_of_another_run_is_not_used(tiny_base: Path, tmp_path: Path) -> None:
    part, run = prepared(tiny_base, "lora", epochs=1, batch_tokens=200)
    with pytest.raises(KeyboardInterrupt):
        run_loop(part, run, tmp_path, stop_at=2)
    other, run = prepared(tiny_base, "lora", epochs=1, batch_tokens=200)
    result = train(
        other,
        examples_for(other),
        examples_for(other, 3, first=50),
        run=run,
        run_digest="another",
        folder=tmp_path,
        task="test",
    )
    assert result.resumed_at == 0


def test_a_loss_that_is_no_number_stops_with_advice(tiny_base: Path, tmp_path: Path) -> None:
    tuned, run = prepared(tiny_base, "full", max_steps=3, learning_rate=0.3)
    with torch.no_grad():
        tuned.parameters["model.norm.weight"][0] = float("nan")
    before = weights(tuned)
    with pytest.raises(Diverged, match=r"learning_rate=0\.1"):
        run_loop(tuned, run, tmp_path)
    for name, value in weights(tuned).items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name


def test_memory_does_not_follow_batch_tokens(tiny_base: Path, tmp_path: Path) -> None:
    """Micro-batches bound what runs at once, so the largest step is no larger than they are."""
    small, run = prepared(tiny_base, "lora", max_steps=2, batch_tokens=1024)
    large, run_large = prepared(tiny_base, "lora", max_steps=2, batch_tokens=2**16)
    assert len(plan_steps(examples_for(small), run)[0]) <= len(
        plan_steps(examples_for(large), run_large)[0]
    )
    result = run_loop(large, run_large, tmp_path)
    assert result.tokens == 2 * sum(len(example.ids) for example in examples_for(large))


def test_each_epoch_sees_every_example_once() -> None:
    run, _ = make_settings("lora", {"epochs": 2.5, "batch_tokens": 64, "seed": 4})
    examples = [Encoded(id=str(i), ids=tuple(range(20)), prompt_length=5) for i in range(10)]
    steps = plan_steps(examples, run)
    names = [example.id for step in steps for example in step]
    assert all(sum(len(example.ids) for example in step) <= 64 for step in steps)
    assert sorted(names[:10]) == sorted(names[10:20]) == sorted(example.id for example in examples)
    assert names[:10] != names[10:20]
    assert len(names) == 25
    assert plan_steps(examples, run) == steps
    other, _ = make_settings("lora", {"epochs": 1, "batch_tokens": 64, "seed": 5})
    assert plan_steps(examples, other)[0] != steps[0]


def test_the_rate_rises_then_falls() -> None:
    run, _ = make_settings("lora", {"learning_rate": 1.0})
    rates = [rate_at(step, 100, run) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == 1.0 and rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rate_at(0, 1, run) == 1.0


def test_metrics_are_lines_of_json(tiny_base: Path, tmp_path: Path) -> None:
    tuned, run = prepared(tiny_base, "lora", max_steps=3, batch_tokens=200)
    run_loop(tuned, run, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all({"train_loss", "gradient_norm", "tokens_per_second"} <= set(line) for line in lines)


def test_settings_say_everything_that_is_wrong() -> None:
    with pytest.raises(InvalidInput) as caught:
        make_settings("lora", {"lora_rank": 8, "lora_r": 0, "epochs": "many"})
    message = str(caught.value)
    assert "lora_rank" in message and "lora_r:" in message and "epochs" in message
    with pytest.raises(InvalidInput, match="lora_r is not a setting of full"):
        make_settings("full", {"lora_r": 8})
    with pytest.raises(UnknownName, match="Methods are: full, lora"):
        make_settings("magic", {})


def test_settings_take_text_as_the_command_line_gives_it() -> None:
    run, own = make_settings("lora", {"lora_r": "8", "epochs": "0.5", "max_steps": "7"})
    assert (own.lora_r, run.epochs, run.max_steps) == (8, 0.5, 7)


def test_the_peak_is_this_stretchs_own() -> None:
    def peak_of(megabytes: int) -> int:
        memory = PeakMemory(CPU)
        with memory.watching():
            block = torch.ones(megabytes * 250_000)
            del block
        return memory.bytes

    large, small = peak_of(400), peak_of(1)
    assert 300e6 < large - small < 500e6
