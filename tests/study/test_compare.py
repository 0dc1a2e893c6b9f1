"""A whole comparison on a tiny base, beside transformers' own loss and a second run."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_base
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from copydesk.corpus import brief_text, curate, document_example
from copydesk.evaluate import general_chats
from copydesk.models import BaseStore, Encoded, encode_example
from copydesk.records import Comparison, Example, Message, MethodRow, Progress, StyleGuide
from copydesk.store import building
from copydesk.study import Question, Subject, Trained, compare, verdict
from copydesk.train import Recipe, make_settings, tune

CPU = torch.device("cpu")
SETTINGS = {"max_steps": 4, "max_length": 512, "dtype": "float32"}
RATES = {"lora": 5e-3, "full": 2e-3}


def recipe(base: Path, method: str, **settings: object) -> Recipe:
    run, own = make_settings(
        method, {**SETTINGS, "learning_rate": RATES.get(method, 1e-3), **settings}
    )
    return Recipe(
        base=BaseStore(base / "no-cache").find(str(base)),
        dataset_digest="data",
        template_digest="template",
        method=method,
        run=run,
        own=own,
        dtype=torch.float32,
    )


class Shelf:
    """Cells in memory, as JSON text."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def find(self, client: str, key: str) -> Mapping[str, Any] | None:
        found = self.kept.get((client, key))
        return json.loads(found) if found else None

    def keep(
        self, client: str, key: str, record: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> None:
        assert inputs.keys() >= {"base", "dataset"}
        self.kept[client, key] = json.dumps(record)


@pytest.fixture(scope="module")
def subject(
    tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Subject:
    pages = {
        name: curate([sample_folder / name / "posts.jsonl"], client=name)
        for name in ("kestrel", "moonmilk")
    }

    def examples(name: str, part: str) -> tuple[Example, ...]:
        return tuple(document_example(page) for page in getattr(pages[name], part))

    return Subject(
        client="kestrel",
        train=examples("kestrel", "train"),
        heldout=examples("kestrel", "heldout"),
        others={"moonmilk": examples("moonmilk", "heldout")},
        guide=StyleGuide(voice="Be brief."),
        recipes=(recipe(tiny_base, "lora"), recipe(tiny_base, "full")),
        folder=tmp_path_factory.mktemp("runs"),
    )


@pytest.fixture(scope="module")
def question(subject: Subject) -> Question:
    return Question(subjects=(subject,), hourly_usd=3.6)


@pytest.fixture(scope="module")
def events() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def comparison(question: Question, events: list[Progress]) -> Comparison:
    return compare(question, device=CPU, listener=events.append)


def rows(comparison: Comparison) -> dict[str, MethodRow]:
    return {row.method: row for row in comparison.rows}


def plain(tokenizer: object, examples: tuple[Example, ...]) -> list[Encoded]:
    return [
        encode_example(
            tokenizer,  # type: ignore[arg-type]
            example.id,
            [Message(role="user", content=brief_text(example.brief))],
            example.text,
            max_length=512,
        )
        for example in examples
    ]


def reference_loss(base: Path, encoded: list[Encoded]) -> float:
    """Nats a token over the answers, by transformers, one example at a time."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.eval()
    total = count = 0.0
    for example in encoded:
        ids = torch.tensor([example.ids])
        labels = ids.clone()
        labels[:, : example.prompt_length] = -100
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=labels).loss) * example.answer_length
        count += example.answer_length
    return total / count


def test_rows_come_in_order_and_are_all_done(comparison: Comparison) -> None:
    assert [row.method for row in comparison.rows] == ["base", "prompted", "lora", "full"]
    assert all(row.status == "done" and row.error is None for row in comparison.rows)
    assert comparison.verdict == verdict(comparison.rows)


def test_the_base_is_none_of_the_gain_and_full_all_of_it(comparison: Comparison) -> None:
    found = rows(comparison)
    assert found["full"].heldout_loss < found["base"].heldout_loss  # type: ignore[operator]
    assert found["base"].relative_performance == 0
    assert found["base"].relative_performance_ci == (0, 0)
    assert found["full"].relative_performance == pytest.approx(100)
    assert found["full"].relative_performance_ci == pytest.approx((100, 100))
    base, lora, full = (found[name].heldout_loss for name in ("base", "lora", "full"))
    assert base is not None and lora is not None and full is not None
    assert found["lora"].relative_performance == pytest.approx(100 * (base - lora) / (base - full))
    low, high = found["lora"].relative_performance_ci or (0, 0)
    assert low < (found["lora"].relative_performance or 0) < high


def test_losses_of_the_base_are_transformers_own(
    comparison: Comparison, subject: Subject, tiny_base: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    base = rows(comparison)["base"]
    heldout = plain(tokenizer, subject.heldout)
    general = [
        encode_example(tokenizer, name, chat, answer, max_length=512)
        for name, chat, answer in general_chats()
    ]
    others = plain(tokenizer, subject.others["moonmilk"])
    assert base.heldout_loss == pytest.approx(reference_loss(tiny_base, heldout), rel=1e-5)
    assert base.general_loss == pytest.approx(reference_loss(tiny_base, general), rel=1e-5)
    assert base.others_loss == pytest.approx(reference_loss(tiny_base, others), rel=1e-5)
    assert comparison.heldout_documents == len(subject.heldout)
    assert comparison.heldout_tokens == sum(example.answer_length for example in heldout)
    assert comparison.train_documents == len(subject.train)
    assert comparison.train_tokens == sum(
        len(example.ids) for example in plain(tokenizer, subject.train)
    )


def test_changes_are_against_the_base(comparison: Comparison) -> None:
    found = rows(comparison)
    base = found["base"]
    assert base.general_loss is not None and base.others_loss is not None
    assert (base.forgetting, base.others_change) == (0, 0)
    assert (found["prompted"].forgetting, found["prompted"].others_change) == (0, 0)
    for method in ("lora", "full"):
        row = found[method]
        assert row.general_loss is not None and row.others_loss is not None
        assert row.forgetting == pytest.approx(row.general_loss - base.general_loss)
        assert row.others_change == pytest.approx(row.others_loss - base.others_loss)
        assert row.forgetting != 0


def test_figures_of_training(comparison: Comparison, question: Question) -> None:
    found = rows(comparison)
    for method, rate in RATES.items():
        row = found[method]
        assert row.learning_rate == rate
        assert [point.step for point in row.curve] == [0, 1, 2, 3, 4]
        assert row.curve[0].heldout_loss == pytest.approx(found["base"].heldout_loss, rel=1e-6)
        assert row.curve[-1].heldout_loss == pytest.approx(row.heldout_loss, rel=1e-6)
        assert all(point.train_loss for point in row.curve[1:])
        assert row.train_seconds == row.curve[-1].seconds > 0
        assert row.cost_usd == pytest.approx(row.train_seconds * 0.001)
        low, high = row.heldout_loss_ci or (0, 0)
        assert low < (row.heldout_loss or 0) < high
        assert row.tokens_per_second and row.tokens_per_second > 0
        assert row.peak_memory_bytes and row.peak_memory_bytes > 10_000_000
        assert comparison.settings[method]["max_steps"] == "4"
    # Llama, 2 layers, D=64, 96 inner, 4 heads and 2 key-value heads of 16: r (in + out) a matrix
    shapes = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 96), (64, 96), (96, 64)]
    assert found["lora"].trainable_parameters == 2 * sum(16 * (i + o) for i, o in shapes)
    matrices = sum(i * o for i, o in shapes)
    assert found["full"].trainable_parameters == 260 * 64 + 2 * (matrices + 2 * 64) + 64
    # Float32 on disk: four bytes a number, and some kilobytes of configuration.
    lora, full = found["lora"], found["full"]
    assert 4 * lora.trainable_parameters <= (lora.artifact_bytes or 0)  # type: ignore[operator]
    assert 4 * full.trainable_parameters <= (full.artifact_bytes or 0)  # type: ignore[operator]
    assert (lora.artifact_bytes or 0) < (full.artifact_bytes or 0)


def test_progress_is_told_from_start_to_end(comparison: Comparison, events: list[Progress]) -> None:
    tasks = list(dict.fromkeys(event.task for event in events))
    assert tasks == [
        "compare kestrel: untuned base",
        "compare kestrel: prompted base",
        "compare kestrel: LoRA",
        "compare kestrel: full fine-tuning",
    ]
    last = {event.task: event for event in events}
    assert all(last[task].done == last[task].total for task in tasks[1:])


def test_a_trained_adapter_is_taken_instead_of_training_again(
    comparison: Comparison, subject: Subject, tiny_base: Path, tmp_path: Path
) -> None:
    lora = subject.recipes[0]
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tuning = tune(
        lora,
        plain(tokenizer, subject.train),
        plain(tokenizer, subject.heldout),
        device=CPU,
        folder=tmp_path / "run",
        task="train",
    )
    adapter = tmp_path / "adapter"
    with building(adapter, kind="version", inputs={}) as artifact:
        tuning.save(artifact.path)
    facts = {
        "train_seconds": 12.5,
        "peak_memory_bytes": 123,
        "tokens": 1000,
        "trainable_parameters": 456,
        "curve": [dataclasses.asdict(point) for point in tuning.result.curve],
    }
    again = dataclasses.replace(
        subject,
        recipes=(lora,),
        trained={lora.digest: Trained(path=adapter, facts=facts)},
    )
    events: list[Progress] = []
    taken = compare(Question(subjects=(again,)), device=CPU, listener=events.append)
    assert not any("LoRA" in event.task for event in events), "nothing was trained"
    row, trained = rows(taken)["lora"], rows(comparison)["lora"]
    assert row.heldout_loss == pytest.approx(trained.heldout_loss, abs=1e-5)
    assert row.general_loss == pytest.approx(trained.general_loss, abs=1e-5)
    assert row.train_seconds == 12.5
    assert row.tokens_per_second == 80
    assert row.curve == tuning.result.curve
    assert row.relative_performance is None, "full was not measured"
    assert verdict(taken.rows) == taken.verdict


def test_a_method_that_fails_keeps_its_row(subject: Subject, tmp_path: Path) -> None:
    base = write_tiny_base(tmp_path / "base", tied=False)
    tensors = load_file(base / "model.safetensors")
    (poisoned,) = AutoTokenizer.from_pretrained(base)("~", add_special_tokens=False)["input_ids"]
    tensors["model.embed_tokens.weight"][poisoned] = float("nan")
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    last = subject.train[-1]
    spoilt = dataclasses.replace(
        last,
        messages=(
            *last.messages[:-1],
            Message(role="assistant", content=f"About ~ five.\n\n{last.text}"),
        ),
    )
    spoilt_subject = dataclasses.replace(
        subject,
        train=(*subject.train[:-1], spoilt),
        recipes=(recipe(base, "lora", max_steps=40), recipe(base, "full", max_steps=1)),
        others={},
    )
    found = compare(Question(subjects=(spoilt_subject,)), device=CPU)
    failed, done = found.rows[2:]
    assert (failed.method, failed.status) == ("lora", "diverged")
    assert failed.error and "learning_rate" in failed.error
    assert failed.heldout_loss is None and failed.relative_performance is None
    assert (done.method, done.status) == ("full", "done"), "its one step missed the spoilt page"
    assert done.others_loss is None and done.cost_usd is None
    assert f"lora did not finish: {failed.error}" in found.verdict


def without_times(comparison: Comparison) -> Comparison:
    """What does not depend on the clock."""
    rows = tuple(
        dataclasses.replace(
            row,
            peak_memory_bytes=None,
            train_seconds=None,
            cost_usd=None,
            tokens_per_second=None,
            epoch_seconds=None,
            seconds_to_95=None,
            curve=tuple(dataclasses.replace(point, seconds=0) for point in row.curve),
        )
        for row in comparison.rows
    )
    return dataclasses.replace(
        comparison, rows=rows, created="", verdict="", spent_seconds=None, recommended=None
    )


def test_what_was_measured_is_found_and_only_the_rest_is_done(
    comparison: Comparison, subject: Subject
) -> None:
    shelf = Shelf()
    alone = Question(
        subjects=(dataclasses.replace(subject, recipes=subject.recipes[1:]),), hourly_usd=3.6
    )
    first = compare(alone, device=CPU, shelf=shelf)
    assert len(shelf.kept) == 3, "two baselines and one run"
    events: list[Progress] = []
    both = Question(subjects=(subject,), hourly_usd=3.6)
    second = compare(both, device=CPU, shelf=shelf, listener=events.append)
    assert not any("full" in event.task for event in events)
    assert any("LoRA" in event.task for event in events)
    assert rows(second)["full"].train_seconds == rows(first)["full"].train_seconds
    assert without_times(second) == without_times(comparison)
    events.clear()
    third = compare(both, device=CPU, shelf=shelf, listener=events.append)
    assert dataclasses.replace(third, created="") == dataclasses.replace(second, created="")
    assert {event.unit for event in events} == {"baselines"}, "nothing was run"
    assert not list(subject.folder.glob("*/checkpoint-*"))


def test_other_pages_to_score_on_are_another_cell(subject: Subject) -> None:
    shelf = Shelf()
    recipes = (dataclasses.replace(subject.recipes[0]),)
    compare(
        Question(subjects=(dataclasses.replace(subject, recipes=recipes),)), device=CPU, shelf=shelf
    )
    compare(
        Question(subjects=(dataclasses.replace(subject, recipes=recipes, others={}),)),
        device=CPU,
        shelf=shelf,
    )
    assert len(shelf.kept) == 3 + 2, "the prompted base reads no other client's pages"


def test_no_text_is_kept(subject: Subject) -> None:
    shelf = Shelf()
    compare(Question(subjects=(subject,)), device=CPU, shelf=shelf)
    kept = " ".join(shelf.kept.values())
    for example in (*subject.train, *subject.heldout, *subject.others["moonmilk"]):
        assert example.id not in kept
        assert example.text[:30] not in kept
