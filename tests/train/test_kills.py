"""A run that is killed with SIGKILL again and again ends as one that was not."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from training import Children, with_dropout

from copydesk.models import METHODS

BF16 = {"dtype": "bfloat16"}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in METHODS},
    "full-bf16-master": ("full", BF16),
    "full-bf16-by-chance": ("full", BF16 | {"optimizer": "adamw_bf16"}),
    "full-8bit": ("full", {"optimizer": "adamw_8bit", "lr_scheduler": "linear"}),
    "lora-8bit": ("lora", {"optimizer": "adamw_8bit", "lora_r": 64}),
    "lora-early-stopping": ("lora", {"eval_steps": 2, "early_stopping_patience": 3}),
}


def ends_equal(forker: Children, base: Path, tmp_path: Path, name: str, kills: int) -> None:
    method, own = RUNS[name]
    settings = {"max_steps": 5 * kills + 5, "batch_tokens": 200, "epochs": 100}
    settings |= own | with_dropout(method)
    assert forker.kill(base, method, settings, tmp_path / "whole", None) == "0"
    chance = random.Random(name)
    struck = 0
    for _ in itertools.count():
        kill = chance.randint(1, 2) if struck < kills else None
        told = forker.kill(base, method, settings, tmp_path / "cut", kill)
        struck += told == "killed"
        if told != "killed":
            assert told == "0"
            break
    assert struck >= kills
    whole, cut = ((tmp_path / name / "final.safetensors") for name in ("whole", "cut"))
    assert cut.read_bytes() == whole.read_bytes()
    ends = [json.loads((path.parent / "result.json").read_text()) for path in (whole, cut)]
    assert ends[0] == ends[1]
    log = (tmp_path / "cut" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["step"] for line in lines] == list(range(1, ends[0][0] + 1))


@pytest.mark.parametrize("name", RUNS)
def test_two_kills_change_nothing(
    forker: Children, tiny_base: Path, tmp_path: Path, name: str
) -> None:
    ends_equal(forker, tiny_base, tmp_path, name, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_twenty_kills_change_nothing(
    forker: Children, tiny_base: Path, tmp_path: Path, name: str
) -> None:
    ends_equal(forker, tiny_base, tmp_path, name, kills=20)
