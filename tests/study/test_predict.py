"""What a comparison predicts of its runs, beside a plan of the same lengths and its own figures."""

import dataclasses
from pathlib import Path

import pytest
import torch
from test_compare import recipe

from copydesk.corpus import curate, document_example
from copydesk.models import Encoded
from copydesk.records import Comparison, MethodRow, Progress, StyleGuide
from copydesk.study import Machine, Question, Subject, compare, find_machine
from copydesk.study._plan import size_run
from copydesk.study._predict import Prediction, predict_runs, with_prediction
from copydesk.study._question import Material
from copydesk.study._shapes import find_architecture
from copydesk.study._time_model import epoch_seconds

METHODS = ("lora", "full", "qlora", "prefix")
LENGTH = 128
COUNT = 12


@pytest.fixture(scope="module")
def machine() -> Machine:
    return find_machine("cpu-avx512")


def material(count: int, length: int = LENGTH) -> Material:
    """Examples of one length, of which nine tenths carry loss, as a plan takes them to be."""
    prompt = length - round(0.9 * length)
    train = tuple(Encoded(id=str(n), ids=(n,) * length, prompt_length=prompt) for n in range(count))
    return Material(
        train=train, heldout=train[:1], prompted=(), general=(), others=(), digest="",
        prompted_digest="",
    )  # fmt: skip


def question(base: Path, folder: Path, clients: int = 1) -> Question:
    recipes = tuple(
        recipe(base, method, max_length=LENGTH, batch_tokens=512, max_steps=None)
        for method in METHODS
    )
    subject = Subject(
        client="a", train=(), heldout=(), others={}, guide=StyleGuide(), recipes=recipes,
        folder=folder,
    )  # fmt: skip
    return Question(
        subjects=tuple(dataclasses.replace(subject, client=f"c{n}") for n in range(clients))
    )


@pytest.mark.parametrize("method", METHODS)
def test_examples_of_full_length_are_predicted_as_a_plan_does(
    tiny_base: Path, tmp_path: Path, machine: Machine, method: str
) -> None:
    asked = question(tiny_base, tmp_path)
    found = predict_runs(asked, [material(COUNT)], machine, lambda _: None)[method]
    settings = {"max_length": LENGTH, "batch_tokens": 512, "dtype": "float32"}
    architecture = find_architecture(str(tiny_base), cache=tmp_path)
    sizes = size_run(architecture, method, machine, settings)
    assert found.peak_memory_bytes == sizes.memory(sizes.trace.tokens, machine).total
    planned = epoch_seconds(
        sizes.trace, sizes.fixed, machine, tokens=COUNT * LENGTH, batch_tokens=512
    )
    assert found.epoch_seconds == pytest.approx(planned)


def test_time_adds_over_clients_and_memory_is_the_greatest(
    tiny_base: Path, tmp_path: Path, machine: Machine
) -> None:
    def both(*materials: Material) -> Prediction:
        asked = question(tiny_base, tmp_path, len(materials))
        return predict_runs(asked, materials, machine, lambda _: None)["lora"]

    few, many = material(2), material(COUNT)
    assert both(many, many).epoch_seconds == pytest.approx(2 * both(many).epoch_seconds)
    assert both(few).peak_memory_bytes < both(many).peak_memory_bytes
    assert both(few, many).peak_memory_bytes == both(many).peak_memory_bytes


def test_short_examples_take_less_than_their_limit_would(
    tiny_base: Path, tmp_path: Path, machine: Machine
) -> None:
    asked = question(tiny_base, tmp_path)
    short = predict_runs(asked, [material(1, 16)], machine, lambda _: None)["lora"]
    whole = predict_runs(asked, [material(1)], machine, lambda _: None)["lora"]
    assert short.peak_memory_bytes < whole.peak_memory_bytes
    assert short.epoch_seconds < whole.epoch_seconds


def test_a_pass_of_many_clients_has_no_memory_predicted() -> None:
    said = Prediction(peak_memory_bytes=5, epoch_seconds=2.0)
    alone = MethodRow(method="lora", status="done")
    shared = dataclasses.replace(alone, clients_in_pass=3)
    assert with_prediction(alone, said).predicted_peak_memory_bytes == 5
    assert with_prediction(shared, said).predicted_peak_memory_bytes is None
    assert with_prediction(shared, said).predicted_epoch_seconds == 2.0
    assert with_prediction(alone, None) == alone


def test_a_comparison_says_both(
    tiny_base: Path, sample_folder: Path, tmp_path: Path, machine: Machine
) -> None:
    pages = curate([sample_folder / "kestrel" / "posts.jsonl"], client="kestrel")
    subject = Subject(
        client="kestrel",
        train=tuple(map(document_example, pages.train[:4])),
        heldout=tuple(map(document_example, pages.heldout[:2])),
        others={},
        guide=StyleGuide(),
        recipes=(recipe(tiny_base, "lora"),),
        folder=tmp_path,
    )
    events: list[Progress] = []

    def made(card: Machine | None) -> Comparison:
        return compare(
            Question(subjects=(subject,)),
            device=torch.device("cpu"),
            machine=card,
            listener=events.append,
        )

    base, _, lora = made(machine).rows
    assert lora.predicted_peak_memory_bytes and lora.peak_memory_bytes
    assert lora.predicted_epoch_seconds and lora.epoch_seconds
    assert base.predicted_peak_memory_bytes is None
    assert events[0].task == "compare kestrel: predicting"
    (_, _, unknown) = made(None).rows
    assert unknown.predicted_peak_memory_bytes is unknown.predicted_epoch_seconds is None
