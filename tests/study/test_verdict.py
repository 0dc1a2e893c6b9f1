"""The verdict, word for word, for each way a comparison can end."""

from copydesk.records import MethodRow
from copydesk.study import verdict

BASE = MethodRow(method="base", status="done", heldout_loss=3.2)
PROMPTED = MethodRow(method="prompted", status="done", heldout_loss=3.0)
FULL = MethodRow(
    method="full",
    status="done",
    heldout_loss=2.7,
    train_seconds=400,
    peak_memory_bytes=8_000_000_000,
    relative_performance=100,
    relative_performance_ci=(100, 100),
)
LORA = MethodRow(
    method="lora",
    status="done",
    heldout_loss=2.74,
    train_seconds=100,
    peak_memory_bytes=2_000_000_000,
    relative_performance=92.4,
    relative_performance_ci=(85.2, 99.9),
)


def test_lora_beside_full() -> None:
    assert verdict([BASE, PROMPTED, LORA, FULL]) == (
        "LoRA reached 92% of full fine-tuning's gain (95% interval 85 to 100) in 25% of its "
        "training time with 25% of its peak memory. Full fine-tuning has the lowest held-out "
        "loss, 2.700 against 3.200 untuned. The base with style guide and examples in its prompt "
        "got 3.000."
    )


def test_every_method_is_set_beside_full() -> None:
    dora = MethodRow(
        method="dora",
        status="done",
        heldout_loss=2.65,
        train_seconds=200,
        peak_memory_bytes=4_000_000_000,
        relative_performance=110,
        relative_performance_ci=(101, 120),
    )
    said = verdict([BASE, LORA, dora, FULL])
    assert "LoRA reached 92% of full fine-tuning's gain" in said
    assert (
        "DoRA reached 110% of full fine-tuning's gain (95% interval 101 to 120) in 50% of its "
        "training time with 50% of its peak memory. DoRA has the lowest held-out loss"
    ) in said


def test_one_method_alone_is_set_beside_the_base() -> None:
    prompt = MethodRow(method="prompt", status="done", heldout_loss=3.1)
    assert verdict([BASE, prompt]) == (
        "Prompt tuning has the lowest held-out loss, 3.100 against 3.200 untuned."
    )


def test_lora_may_be_the_best() -> None:
    better = MethodRow(method="lora", status="done", heldout_loss=2.6)
    assert "LoRA has the lowest held-out loss, 2.600 against 3.200 untuned." in verdict(
        [BASE, better, FULL]
    )


def test_without_a_gain_there_is_no_share() -> None:
    lora = MethodRow(method="lora", status="done", heldout_loss=3.3)
    full = MethodRow(method="full", status="done", heldout_loss=3.4)
    said = verdict([BASE, lora, full])
    assert said == (
        "Full fine-tuning did not gain on the untuned base, so there is no share. "
        "No method beat the untuned base (3.200) on held-out pages."
    )


def test_prompting_that_does_as_well_is_said() -> None:
    prompted = MethodRow(method="prompted", status="done", heldout_loss=2.7)
    said = verdict([BASE, prompted, LORA, FULL])
    assert said.endswith(
        "The untuned base with style guide and examples in its prompt did as well (2.700): tuning "
        "has not earned its cost here."
    )
    assert "got 2.700" not in said


def test_a_failed_method_is_named_and_the_rest_still_told() -> None:
    failed = MethodRow(method="full", status="out_of_memory", error="Training ran out of memory")
    said = verdict([BASE, PROMPTED, LORA, failed])
    assert said == (
        "LoRA has the lowest held-out loss, 2.740 against 3.200 untuned. "
        "The base with style guide and examples in its prompt got 3.000. "
        "full did not finish: Training ran out of memory"
    )


def test_unmeasured_figures_are_not_made_up() -> None:
    lora = MethodRow(
        method="lora",
        status="done",
        heldout_loss=2.8,
        relative_performance=80,
        relative_performance_ci=(70, 90),
    )
    said = verdict([BASE, lora, FULL])
    assert "in an unknown share of its training time with an unknown share of its peak" in said


def test_nothing_measured() -> None:
    assert verdict([]) == "Nothing was measured."
    assert verdict([BASE]) == "Nothing was measured."
