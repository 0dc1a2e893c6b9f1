"""A thorough comparison on a tiny base: rates looked for, seeds, clients pooled, time that ends."""

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
from test_compare import RATES, Shelf, recipe

from copydesk.corpus import curate, document_example
from copydesk.evaluate import pooled_mean, run_losses, score
from copydesk.models import BaseStore, encode_examples, load_tokenizer
from copydesk.records import Comparison, MethodRow, Progress, StyleGuide
from copydesk.study import Question, Subject, compare
from copydesk.study import _schedule as schedule
from copydesk.study._budget import Budget
from copydesk.study._question import encode_subject
from copydesk.study._sweep import FEWEST, set_aside, trial_recipe
from copydesk.train import Recipe, plan_steps, tune

CPU = torch.device("cpu")
STEPS = 10


def swept(base: Path, method: str, client: str) -> Recipe:
    made = recipe(base, method, max_steps=STEPS, batch_tokens=384, max_length=256)
    return dataclasses.replace(made, dataset_digest=client)


@pytest.fixture(scope="module")
def subjects(
    tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Subject, ...]:
    pages = {
        name: curate([sample_folder / name / "posts.jsonl"], client=name)
        for name in ("kestrel", "moonmilk")
    }
    heldout = {name: tuple(map(document_example, made.heldout[:4])) for name, made in pages.items()}
    return tuple(
        Subject(
            client=name,
            train=tuple(map(document_example, made.train[:15])),
            heldout=heldout[name],
            others={other: heldout[other] for other in heldout if other != name},
            guide=StyleGuide(voice="Be brief."),
            recipes=(swept(tiny_base, "lora", name), swept(tiny_base, "full", name)),
            folder=tmp_path_factory.mktemp(name),
        )
        for name, made in pages.items()
    )


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(scope="module")
def thorough(subjects: tuple[Subject, ...], shelf: Shelf) -> Comparison:
    question = Question(subjects=subjects, seeds=2, sweep=True, probe=True, hourly_usd=3.6)
    return compare(question, device=CPU, shelf=shelf)


def rows(comparison: Comparison) -> dict[str, MethodRow]:
    return {row.method: row for row in comparison.rows}


def test_each_method_has_its_own_rate(thorough: Comparison) -> None:
    for method, rate in RATES.items():
        row = rows(thorough)[method]
        tried = {one.learning_rate: one.loss for one in row.swept}
        expected = [rate / 3, rate, rate * 3]
        best = min(tried, key=lambda one: tried[one] or math.inf)
        if len(tried) == 4:
            low = row.swept[0].learning_rate < rate / 4
            expected = [rate / 9, *expected] if low else [*expected, rate * 9]
        assert list(tried) == pytest.approx(expected)
        assert len(tried) == 4 or best == pytest.approx(rate), "an end that is best is looked past"
        assert row.learning_rate == pytest.approx(best)
        assert row.sweep_seconds == pytest.approx(sum(one.seconds for one in row.swept))
        assert thorough.settings[method]["learning_rate"] == str(row.learning_rate)


def test_a_trial_is_a_run_on_training_pages_alone(
    thorough: Comparison, subjects: tuple[Subject, ...], tmp_path: Path
) -> None:
    """The first rate's figure again, by the loop itself."""
    losses = []
    for subject in subjects:
        lora = subject.recipes[0]
        material = encode_subject(subject)
        learn, judge = set_aside(material.train)
        heldout = {example.id for example in material.heldout}
        assert not heldout & {example.id for example in (*learn, *judge)}
        assert len(learn) + len(judge) == len(material.train) and len(judge) >= 2
        trial = trial_recipe(lora, material, 1.0)
        assert trial is not None and trial.run.max_steps == FEWEST
        assert trial.digest != lora.digest
        done = tune(trial, learn, judge, device=CPU, folder=tmp_path / subject.client, task="trial")
        losses.append(run_losses([score(done.tuned, judge)]))
    row = rows(thorough)["lora"]
    (middle,) = [one for one in row.swept if one.learning_rate == RATES["lora"]]
    assert middle.loss == pytest.approx(pooled_mean(losses), rel=1e-6)


def test_clients_and_seeds_are_pooled(thorough: Comparison, subjects: tuple[Subject, ...]) -> None:
    assert thorough.client == "kestrel + moonmilk"
    assert thorough.clients == ("kestrel", "moonmilk")
    assert thorough.heldout_documents == sum(len(one.heldout) for one in subjects)
    for method in RATES:
        row = rows(thorough)[method]
        assert row.status == "done" and row.seeds == 2
        assert row.curve[0].heldout_loss == pytest.approx(rows(thorough)["base"].heldout_loss)
        assert row.train_seconds and row.epoch_seconds and row.cost_usd
        assert row.cost_usd == pytest.approx(0.001 * (row.train_seconds + (row.sweep_seconds or 0)))
        low, high = row.heldout_loss_ci or (0, 0)
        assert low < (row.heldout_loss or 0) < high
    full = rows(thorough)["full"]
    assert full.relative_performance_ci == pytest.approx((100, 100))
    assert full.seconds_to_95 is not None and full.train_seconds is not None
    assert thorough.recommended in RATES
    assert thorough.spent_seconds and thorough.spent_seconds > full.train_seconds


def test_each_run_of_a_pool_is_the_run_by_itself(
    thorough: Comparison, subjects: tuple[Subject, ...], tmp_path: Path
) -> None:
    """LoRA's held-out loss again: four runs by the loop itself, pooled by hand."""
    row = rows(thorough)["lora"]
    assert row.learning_rate is not None
    total = tokens = 0.0
    for subject, seed in itertools.product(subjects, (0, 1)):
        lora = subject.recipes[0]
        run = dataclasses.replace(lora.run, learning_rate=row.learning_rate, seed=seed)
        chosen = dataclasses.replace(lora, run=run)
        tokenizer = load_tokenizer(lora.base)
        train, heldout = (
            encode_examples(tokenizer, part, max_length=256).examples
            for part in (subject.train, subject.heldout)
        )
        folder = tmp_path / f"{subject.client}-{seed}"
        done = tune(chosen, train, heldout, device=CPU, folder=folder, task="alone")
        total += sum(loss.loss for loss in done.result.heldout) / 2
        tokens += sum(loss.tokens for loss in done.result.heldout) / 2
    assert row.heldout_loss == pytest.approx(total / tokens, rel=1e-6)


def test_instructions_and_speed_are_measured(thorough: Comparison) -> None:
    base = rows(thorough)["base"]
    assert base.instruction_score is not None and base.instruction_change == 0
    assert base.generation_tokens_per_second and base.merged_tokens_per_second is None
    for method in RATES:
        row = rows(thorough)[method]
        assert row.instruction_score is not None
        assert row.instruction_change == row.instruction_score - base.instruction_score
        assert row.generation_tokens_per_second and row.merged_tokens_per_second
    full = rows(thorough)["full"]
    assert full.merged_tokens_per_second == full.generation_tokens_per_second


def test_one_client_of_a_pool_is_there_for_itself(
    thorough: Comparison, subjects: tuple[Subject, ...], shelf: Shelf
) -> None:
    before = len(shelf.kept)
    events: list[Progress] = []
    question = Question(subjects=subjects[:1], seeds=2, sweep=True, probe=True)
    compare(question, device=CPU, shelf=shelf, listener=events.append)
    # The best rate of one client may be another than the pool's: then its final runs are new.
    assert len(shelf.kept) <= before + 2 * 2 + 2
    assert not any("untuned" in event.task and event.done for event in events)


def test_a_stopped_comparison_goes_on(subjects: tuple[Subject, ...]) -> None:
    """Stopped again and again, each time a little later, until it ends as one that was not."""
    subject = dataclasses.replace(subjects[0], recipes=subjects[0].recipes[:1])
    question = Question(subjects=(subject,), seeds=2, sweep=True)
    whole = compare(question, device=CPU, shelf=Shelf())
    cut, stops = Shelf(), 0
    for patience in itertools.count(12, 12):
        answers = itertools.chain(itertools.repeat(False, patience), itertools.repeat(True))
        try:
            ended = compare(question, device=CPU, shelf=cut, should_stop=answers.__next__)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 2
    now, then = rows(ended)["lora"], rows(whole)["lora"]
    assert now.learning_rate == then.learning_rate
    assert now.heldout_loss == then.heldout_loss, "to the bit"
    assert [one.loss for one in now.swept] == [one.loss for one in then.swept]


def test_a_run_that_time_ends_keeps_its_row_and_goes_on(
    subjects: tuple[Subject, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = dataclasses.replace(subjects[0], recipes=subjects[0].recipes[1:])
    shelf = Shelf()
    question = Question(subjects=(subject,), budget_seconds=60)
    # A clock that jumps a second whenever it is read: what time allows is then a count of steps.
    ticks = itertools.count()
    monkeypatch.setattr(
        schedule, "Budget", lambda seconds: Budget(seconds, clock=lambda: float(next(ticks)))
    )
    short = dataclasses.replace(question, budget_seconds=9)
    found = compare(short, device=CPU, shelf=shelf)
    planned = len(plan_steps(encode_subject(subject).train, subject.recipes[0].run))
    cut = rows(found)["full"]
    assert cut.status == "cut"
    assert cut.error and f"of {planned} steps" in cut.error and "--budget" in cut.error
    assert 1 <= cut.curve[-1].step < planned
    assert cut.heldout_loss == pytest.approx(cut.curve[-1].heldout_loss, rel=1e-6)
    assert cut.train_seconds and cut.peak_memory_bytes and cut.artifact_bytes
    assert "full was cut short" in found.verdict
    assert list(subject.folder.glob("*/checkpoint-*")), "it can go on"
    whole = compare(dataclasses.replace(question, budget_seconds=None), device=CPU, shelf=shelf)
    alone = compare(Question(subjects=(subject,)), device=CPU)
    assert rows(whole)["full"].status == "done"
    assert rows(whole)["full"].heldout_loss == rows(alone)["full"].heldout_loss
    assert not list(subject.folder.glob("*/checkpoint-*"))


def test_a_rate_that_cannot_be_is_not_tried(tiny_base: Path) -> None:
    hot = recipe(tiny_base, "prompt", learning_rate=0.5)
    assert BaseStore(tiny_base / "no-cache").find(str(tiny_base)) == hot.base
    assert trial_recipe(hot, None, 3.0) is None  # type: ignore[arg-type]
