"""Words follow from figures by the stated thresholds."""

from dataclasses import replace

from copydesk.records import Comparison, MethodRow
from copydesk.study import THRESHOLDS, Judgement, qualitative

FULL = MethodRow(
    method="full",
    status="done",
    train_seconds=300,
    sweep_seconds=100,
    peak_memory_bytes=8_000,
    tokens_per_second=100,
    artifact_bytes=540,
    relative_performance=100,
    forgetting=0.15,
)
LORA = MethodRow(
    method="lora",
    status="done",
    train_seconds=150,
    sweep_seconds=50,
    peak_memory_bytes=2_400,
    tokens_per_second=250,
    artifact_bytes=20,
    relative_performance=94,
    forgetting=-0.02,
    instruction_change=-0.08,
)


def comparison(*rows: MethodRow) -> Comparison:
    base = MethodRow(method="base", status="done", forgetting=0.0)
    return Comparison(
        client="acme",
        base="tiny",
        created="",
        machine="",
        train_documents=1,
        heldout_documents=1,
        train_tokens=1,
        heldout_tokens=1,
        rows=(base, *rows),
        verdict="",
    )


def of(method: str, *rows: MethodRow) -> dict[str, Judgement]:
    return {one.aspect: one for one in qualitative(comparison(*rows)) if one.method == method}


def test_every_word_has_its_figure() -> None:
    lora = of("lora", LORA, FULL)
    assert {name: (one.word, one.said) for name, one in lora.items()} == {
        "compute": ("low", "50%"),
        "speed": ("high", "2.5x"),
        "memory": ("low", "30%"),
        "storage": ("low", "3.7%"),
        "ceiling": ("medium", "94%"),
        "forgetting": ("medium", "+0.080"),
        "flexibility": ("high", "27"),
    }
    full = of("full", LORA, FULL)
    assert {name: one.word for name, one in full.items()} == {
        "compute": "high",
        "speed": "low",
        "memory": "high",
        "storage": "high",
        "ceiling": "high",
        "forgetting": "high",
        "flexibility": "low",
    }
    assert lora.keys() == THRESHOLDS.keys()


def test_only_tuning_methods_are_judged() -> None:
    assert {one.method for one in qualitative(comparison(LORA, FULL))} == {"lora", "full"}


def test_what_was_not_measured_has_no_word() -> None:
    for rows in ((LORA,), (LORA, replace(FULL, status="cut"))):
        lora = of("lora", *rows)
        assert lora["memory"].word == "unknown" and lora["memory"].figure is None
        assert lora["memory"].said == "-"
        assert lora["forgetting"].word == "medium", "which needs no full fine-tuning"
    failed = MethodRow(method="dora", status="out_of_memory", error="too big")
    assert {one.word for one in of("dora", FULL, failed).values()} == {"unknown"}


def test_thresholds_divide() -> None:
    for aspect in ("memory", "ceiling"):
        limit = THRESHOLDS[aspect]
        words: list[str] = []
        for value in (limit.low_until, limit.low_until + 1, limit.medium_until + 1):
            row = replace(LORA, relative_performance=value, peak_memory_bytes=round(80 * value))
            words.append(of("lora", row, FULL)[aspect].word)
        assert words == ["low", "medium", "high"]
