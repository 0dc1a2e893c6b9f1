"""What the terminal says of a comparison, and lengths of time as people write them."""

from dataclasses import replace

import pytest

from copydesk.app import _output as output
from copydesk.app._comparison_tables import show_comparison
from copydesk.app._output import parse_duration
from copydesk.errors import InvalidInput
from copydesk.records import Comparison, MethodRow, SweptRate

BASE = MethodRow(
    method="base",
    status="done",
    heldout_loss=3.2,
    heldout_loss_ci=(3.1, 3.3),
    relative_performance=0,
    relative_performance_ci=(0, 0),
    forgetting=0,
    instruction_score=0.5,
    generation_tokens_per_second=24,
)
LORA = MethodRow(
    method="lora",
    status="done",
    learning_rate=6e-3,
    heldout_loss=2.72,
    heldout_loss_ci=(2.6, 2.8),
    relative_performance=96,
    relative_performance_ci=(91, 101),
    peak_memory_bytes=2_700_000_000,
    train_seconds=99.5,
    forgetting=-0.122,
    artifact_bytes=20_000_000,
    tokens_per_second=170,
    seeds=3,
    swept=(
        SweptRate(learning_rate=2e-3, loss=2.9, seconds=20),
        SweptRate(learning_rate=6e-3, loss=2.8, seconds=21),
        SweptRate(learning_rate=1.8e-2, loss=None, seconds=9),
    ),
    sweep_seconds=50,
    epoch_seconds=33,
    seconds_to_95=90.5,
    instruction_score=0.42,
    instruction_change=-0.08,
    generation_tokens_per_second=20,
    merged_tokens_per_second=24,
    tied_with=("full",),
)
CUT = MethodRow(
    method="full",
    status="cut",
    error="The budget ended it after 5 of 9 steps.",
    heldout_loss=2.8,
    heldout_loss_ci=(2.7, 2.9),
    train_seconds=200,
    peak_memory_bytes=4_200_000_000,
    artifact_bytes=542_000_000,
)
FAILED = MethodRow(method="dora", status="out_of_memory", error="It does not fit.")
COMPARISON = Comparison(
    client="acme",
    base="smollm2-135m",
    created="2026-11-24",
    machine="2 threads",
    train_documents=24,
    heldout_documents=6,
    train_tokens=5000,
    heldout_tokens=1300,
    rows=(BASE, LORA, CUT, FAILED),
    verdict="The verdict.",
    clients=("acme",),
    budget_seconds=1200,
    spent_seconds=700,
)


def shown(comparison: Comparison, *, qualities: bool = False, advise: bool = True) -> str:
    output.out.width = 80
    try:
        with output.out.capture() as captured:
            show_comparison(comparison, qualities=qualities, advise=advise)
    finally:
        output.out.width = None  # type: ignore[assignment]
    return captured.get()


def test_a_thorough_comparison_says_what_it_tried_and_what_it_took() -> None:
    said = shown(COMPARISON)
    words = " ".join(said.split())
    assert "LoRA learns at 6.0e-03, of 2.0e-03: 2.900, 6.0e-03: 2.800, 1.8e-02: diverged" in words
    assert "(tried in 50.0 s)" in words
    assert "All of it took 11 min 40 s of 20 min 00 s, sweeps and scoring included." in words
    assert "95% intervals over pages and 3 seeds" in words
    (speech,) = [line for line in said.splitlines() if "42%" in line]
    assert speech.split() == ["LoRA", "42%", "20/s", "24/s", "33.0", "s", "1", "min", "30", "s"]
    (cut,) = [line for line in said.splitlines() if line.startswith("full*")]
    assert "2.800 (2.70-2.90)" in cut
    (failed,) = [line for line in said.splitlines() if line.startswith("DoRA")]
    assert "out of memory" in failed
    assert "compute" not in said, "the qualitative table is asked for"
    assert all(len(line) <= 80 for line in said.splitlines())


def test_the_qualitative_table_is_shown_when_asked_for_and_for_several_clients() -> None:
    full = replace(CUT, status="done", error=None, relative_performance=100, tokens_per_second=100)
    comparison = replace(COMPARISON, rows=(BASE, LORA, full))
    for said in (
        shown(comparison, qualities=True),
        shown(replace(comparison, client="acme + birch", clients=("acme", "birch"))),
    ):
        (memory,) = [line for line in said.splitlines() if line.startswith("memory ")]
        assert memory.split() == ["memory", "medium", "(64%)", "high", "(100%)"]
        assert "flexibility" in said and "above it, high." in " ".join(said.split())
        assert all(len(line) <= 80 for line in said.splitlines())


def test_a_quick_comparison_says_no_more_than_before() -> None:
    quick = replace(LORA, swept=(), sweep_seconds=None, generation_tokens_per_second=None, seeds=1)
    base = replace(BASE, generation_tokens_per_second=None, instruction_score=None)
    said = shown(replace(COMPARISON, rows=(base, quick), clients=(), budget_seconds=None))
    for word in ("learns at", "instructions", "All of it took", "seeds"):
        assert word not in said
    assert said.rstrip().endswith("The verdict.")


def test_what_was_predicted_stands_beside_what_was_measured() -> None:
    lora = replace(LORA, predicted_peak_memory_bytes=2_500_000_000, predicted_epoch_seconds=30.0)
    said = shown(replace(COMPARISON, rows=(BASE, lora)))
    (line,) = [line for line in said.splitlines() if "2.5 GB" in line]
    assert " ".join(line.split()) == "LoRA 2.5 GB / 2.7 GB 30.0 s / 33.0 s"
    assert "Nothing was predicted" not in said
    assert "copydesk plan does it" in " ".join(shown(COMPARISON).split())
    assert "Nothing was predicted" not in shown(COMPARISON, advise=False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20m", 1200), ("90s", 90), ("1h30m", 5400), ("1.5 h", 5400), ("45", 45), ("2m 5s", 125)],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "20 minutes", "0m", "m", "-5m", "5m3h"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(InvalidInput, match="20m or 1h30m"):
        parse_duration(text)
