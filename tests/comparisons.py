"""Comparisons for the report: with all fields, as they were before there were so many, and odd."""

import math
from dataclasses import replace

from copydesk.records import Comparison, LossPoint, MethodRow, SweptRate

METHODS = ("full", "lora", "qlora", "dora", "prefix", "prompt", "bottleneck")
NASTY = '<script>alert("x")</script>\'"><img src=https://evil.example/x.png onerror=alert(1)>'


def curve(
    seconds: float, steps: int, best: float, *, start: float = 3.226
) -> tuple[LossPoint, ...]:
    """A made-up training curve that falls from `start` towards `best`."""
    points: list[LossPoint] = []
    for step in range(steps + 1):
        level = best + (start - best) * math.exp(-3.2 * step / steps)
        wave = 0.05 * math.sin(step * 2.7) + 0.03 * math.sin(step * 7.1)
        held = level if step % 6 == 0 else None
        points.append(
            LossPoint(
                step=step,
                seconds=seconds * step / steps,
                train_loss=None if step == 0 else level - 0.06 * step / steps + wave,
                heldout_loss=held,
            )
        )
    return tuple(points)


def old_comparison(client: str = "fernwick") -> Comparison:
    """Six methods, one of which ran out of memory, without any of the later fields."""
    return Comparison(
        client=client,
        base="smollm2-135m",
        created="2026-11-24T11:05:00+00:00",
        machine="2-core AVX-512 CPU, 16 GB",
        train_documents=96,
        heldout_documents=24,
        train_tokens=38_400,
        heldout_tokens=9_812,
        verdict=(
            f"For {client}, LoRA reached 93% of full fine-tuning\u2019s gain in 72% of its time and"
            " 61% of its memory, and its file is 140 times smaller: use LoRA."
        ),
        versions={"copydesk": "0.1.0", "torch": "2.13.0", "peft": "0.21.0"},
        settings={
            "lora": {"lora_r": "16", "lora_alpha": "32", "target_modules": "all-linear"},
            "full": {"dtype": "float32"},
        },
        rows=(
            MethodRow(
                method="base", status="done", heldout_loss=3.226, heldout_loss_ci=(3.101, 3.362),
                relative_performance=0.0, general_loss=2.71, others_loss=3.31,
            ),
            MethodRow(
                method="prompted", status="done", heldout_loss=3.118, heldout_loss_ci=(2.99, 3.26),
                relative_performance=36.7, relative_performance_ci=(28.0, 45.0),
            ),
            MethodRow(
                method="lora", status="done", learning_rate=2e-3, trainable_parameters=4_884_480,
                peak_memory_bytes=4_100_000_000, train_seconds=297.3, cost_usd=0.02,
                heldout_loss=2.952, heldout_loss_ci=(2.838, 3.071), relative_performance=93.2,
                relative_performance_ci=(88.0, 97.4), forgetting=0.012, others_change=-0.094,
                artifact_bytes=19_600_000, tokens_per_second=282.4, clients_in_pass=3,
                curve=curve(297.3, 24, 2.94),
            ),
            MethodRow(
                method="qlora", status="done", learning_rate=2e-3, trainable_parameters=4_884_480,
                peak_memory_bytes=2_900_000_000, train_seconds=368.0, cost_usd=0.03,
                heldout_loss=2.981, heldout_loss_ci=(2.86, 3.11), relative_performance=83.4,
                relative_performance_ci=(77.0, 90.1), forgetting=0.009, others_change=-0.08,
                artifact_bytes=19_600_000, tokens_per_second=231.0, curve=curve(368.0, 24, 2.97),
            ),
            MethodRow(
                method="full", status="done", learning_rate=1e-4, trainable_parameters=134_515_008,
                peak_memory_bytes=6_700_000_000, train_seconds=411.9, cost_usd=0.03,
                heldout_loss=2.932, heldout_loss_ci=(2.81, 3.06), relative_performance=100.0,
                forgetting=0.051, others_change=-0.11, artifact_bytes=538_000_000,
                tokens_per_second=127.2, curve=curve(411.9, 24, 2.92),
            ),
            MethodRow(
                method="dora", status="out_of_memory", learning_rate=2e-3,
                error="needs 17.2 GB, the machine has 16 GB",
            ),
        ),
    )  # fmt: skip


def tuned(n: int, method: str) -> MethodRow:
    """The `n`th tuning method, all fields filled in; several lie close together."""
    gain = (100.0, 96.4, 94.8, 96.9, 61.0, 38.5, 88.0)[n]
    seconds = (411.9, 297.3, 368.0, 401.0, 255.0, 250.0, 281.0)[n]
    memory = (6.7e9, 4.1e9, 2.9e9, 4.6e9, 3.6e9, 3.5e9, 3.9e9)[n]
    loss = 3.226 - 0.00294 * gain
    return MethodRow(
        method=method, status="done", learning_rate=1e-4 * (10 if n else 1),
        trainable_parameters=134_515_008 if n == 0 else 4_884_480 // n,
        peak_memory_bytes=int(memory), train_seconds=seconds, cost_usd=seconds / 3600 * 0.2,
        heldout_loss=loss, heldout_loss_ci=(loss - 0.11, loss + 0.12), relative_performance=gain,
        relative_performance_ci=None if n == 0 else (gain - 5.5, gain + 4.8),
        forgetting=(0.051, 0.012, 0.009, 0.014, -0.002, 0.0, 0.02)[n],
        others_change=-0.12 + 0.015 * n, artifact_bytes=538_000_000 if n == 0 else 19_600_000 // n,
        tokens_per_second=127.0 + 30 * n, seeds=3, sweep_seconds=61.0 + n,
        swept=tuple(
            SweptRate(learning_rate=1e-4 * (10 if n else 1) * by, loss=at, seconds=20.3)
            for by, at in ((1 / 3, 3.02), (1.0, 2.98), (3.0, None if n == 0 else 3.0))
        ),
        epoch_seconds=seconds / 2, seconds_to_95=None if gain < 95 else seconds * 0.8,
        instruction_score=0.5, instruction_change=(-0.21, -0.04, -0.04, 0.0, 0.0, 0.04, -0.08)[n],
        generation_tokens_per_second=(38.2, 24.7, 9.6, 21.0, 33.0, 35.1, 27.3)[n],
        merged_tokens_per_second=38.0 if 0 < n < 4 else None,
        tied_with=(("full", "lora", "dora") if n == 2 else ("full", "qlora", "dora"))
        if n in (1, 2) else (),
        predicted_peak_memory_bytes=int(memory * (0.97, 1.04, 0.85, 1.0, 1.02, 1.01, 0.95)[n]),
        predicted_epoch_seconds=seconds / 2 * (1.08, 0.93, 1.2, 0.99, 1.31, 1.04, 1.0)[n],
        curve=curve(seconds, 24, loss - 0.01),
    )  # fmt: skip


def whole(methods: int = 3, client: str = "fernwick + kestrel + moonmilk") -> Comparison:
    """Baselines and the first so many methods, with every field that a comparison can have."""
    rows = (
        MethodRow(
            method="base", status="done", heldout_loss=3.226, heldout_loss_ci=(3.101, 3.362),
            relative_performance=0.0, general_loss=2.71, others_loss=3.31,
        ),
        MethodRow(
            method="prompted", status="done", heldout_loss=3.118, heldout_loss_ci=(2.99, 3.26),
            relative_performance=36.7, relative_performance_ci=(28.0, 45.0),
        ),
        *(tuned(n, method) for n, method in enumerate(METHODS[:methods])),
    )  # fmt: skip
    return Comparison(
        client=client, clients=tuple(client.split(" + ")), base="smollm2-135m",
        created="2026-11-24T11:05:00+00:00", machine="2-core AVX-512 CPU, 16 GB",
        train_documents=288, heldout_documents=72, train_tokens=115_200, heldout_tokens=28_930,
        budget_seconds=3600.0, spent_seconds=3488.0, recommended="lora",
        verdict=(
            "LoRA reached 96% of full fine-tuning's gain (95% interval 91 to 101) in 72% of its "
            "training time with 61% of its peak memory. Full fine-tuning has the lowest held-out "
            "loss, 2.932 against 3.226 untuned."
        ),
        versions={"copydesk": "0.1.0", "torch": "2.13.0", "peft": "0.21.0"},
        settings={"lora": {"lora_r": "16", "target_modules": "all-linear"}}, rows=rows,
    )  # fmt: skip


def with_problems() -> Comparison:
    """Five tuning methods: one was cut, one ran out of memory, one diverged."""
    short = whole(2)
    return replace(
        short,
        rows=(
            *short.rows,
            replace(
                tuned(2, "qlora"), status="cut", error="after 14 of 24 steps", tied_with=()
            ),
            MethodRow(
                method="dora", status="out_of_memory", learning_rate=2e-3,
                error="needs 17.2 GB, the machine has 16 GB",
            ),
            MethodRow(method="prefix", status="diverged", error="loss 41.2 at step 6"),
        ),
    )  # fmt: skip


def nasty() -> Comparison:
    """All words are an attack."""
    row = MethodRow(method=NASTY, status="failed", error=NASTY, curve=curve(9, 12, 2.9))
    other = replace(
        tuned(1, NASTY), status="cut", error=NASTY, tied_with=(NASTY, "full"), forgetting=0.1
    )
    return replace(
        whole(2), client=NASTY, base=NASTY, machine=NASTY, verdict=NASTY, created=NASTY,
        recommended=NASTY, versions={NASTY: NASTY}, settings={NASTY: {NASTY: NASTY}},
        rows=(row, other, tuned(0, "full"), tuned(2, NASTY + "2")),
    )  # fmt: skip
