"""Ties and the recommendation, on rows written by hand."""

from copydesk.records import MethodRow
from copydesk.study import verdict
from copydesk.study._rows import _with_ties, recommended

BASE = MethodRow(method="base", status="done", heldout_loss=3.2)


def row(
    method: str,
    loss: float,
    interval: tuple[float, float] | None,
    *,
    seconds: float = 100,
    cost: float | None = None,
    memory: int = 10,
    tied: tuple[str, ...] = (),
    status: str = "done",
) -> MethodRow:
    return MethodRow(
        method=method,
        status=status,  # type: ignore[arg-type]
        heldout_loss=loss,
        relative_performance=sum(interval) / 2 if interval else None,
        relative_performance_ci=interval,
        train_seconds=seconds,
        cost_usd=cost,
        peak_memory_bytes=memory,
        tied_with=tied,
    )


def ties(*rows: MethodRow) -> dict[str, tuple[str, ...]]:
    return {one.method: _with_ties(one, rows).tied_with for one in rows}


def test_overlapping_intervals_are_ties() -> None:
    found = ties(
        BASE,
        row("prompted", 3.0, (90, 110)),
        row("full", 2.7, (100, 100)),
        row("lora", 2.71, (92, 101)),
        row("qlora", 2.8, (80, 92)),
        row("dora", 2.7, (90, 120), status="cut"),
        row("prompt", 3.1, None),
    )
    assert found["full"] == ("lora",)
    assert found["lora"] == ("full", "qlora"), "ends that touch overlap"
    assert found["qlora"] == ("lora",)
    assert not found["base"] and not found["prompted"] and not found["dora"]


def test_the_cheapest_of_those_tied_with_the_best_is_recommended() -> None:
    full = row("full", 2.7, (100, 100), seconds=400, tied=("lora", "dora"))
    lora = row("lora", 2.72, (92, 101), seconds=100, tied=("full", "dora"))
    dora = row("dora", 2.71, (93, 102), seconds=90, tied=("full", "lora"))
    qlora = row("qlora", 2.9, (70, 80), seconds=10)
    assert recommended([BASE, full, lora, dora, qlora]) == "dora", "by time without a price"
    assert recommended([BASE, full, lora, qlora]) == "lora"
    assert recommended([BASE, row("full", 2.7, (100, 100)), qlora]) == "full", "none is tied"


def test_a_price_goes_before_time_and_memory_breaks_a_tie() -> None:
    full = row("full", 2.7, (100, 100), seconds=50, cost=3.0, tied=("lora",))
    lora = row("lora", 2.72, (92, 101), seconds=100, cost=1.0, tied=("full",))
    assert recommended([BASE, full, lora]) == "lora"
    twin = row("qlora", 2.72, (92, 101), seconds=100, cost=1.0, memory=5, tied=("full", "lora"))
    full = row("full", 2.7, (100, 100), seconds=50, cost=3.0, tied=("lora", "qlora"))
    assert recommended([BASE, full, lora, twin]) == "qlora"


def test_nothing_is_recommended_that_does_not_beat_the_base() -> None:
    assert recommended([BASE, row("full", 3.2, None), row("lora", 3.3, None)]) is None
    assert recommended([BASE, row("full", 2.0, None, status="cut")]) is None
    assert recommended([row("full", 2.0, None)]) is None


def test_the_verdict_names_ties_and_the_cheapest() -> None:
    full = row("full", 2.7, (100, 100), seconds=400, tied=("lora", "qlora"))
    lora = row("lora", 2.72, (92, 101), seconds=100, tied=("full", "qlora"))
    qlora = row("qlora", 2.73, (91, 100), seconds=150, tied=("full", "lora"))
    said = verdict([BASE, full, lora, qlora])
    assert (
        "Full fine-tuning has the lowest held-out loss, 2.700 against 3.200 untuned. It is tied "
        "with LoRA and QLoRA (their 95% intervals overlap); LoRA is the cheapest of them."
    ) in said
    cut = row("dora", 2.9, None, status="cut")
    assert "tied" not in verdict([BASE, row("full", 2.7, (100, 100)), cut])


def test_the_verdict_says_who_was_cut() -> None:
    cut = MethodRow(
        method="dora",
        status="cut",
        heldout_loss=2.9,
        error="The budget ended it after 3 of 9 steps.",
    )
    said = verdict([BASE, row("full", 2.7, (100, 100)), cut])
    assert said.endswith("dora was cut short: The budget ended it after 3 of 9 steps.")
