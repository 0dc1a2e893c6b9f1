"""The present machine as a card."""

import json
import time
from pathlib import Path

import pytest
import torch

from copydesk.study import this_machine
from copydesk.study._calibrate import _identity, _remembered

CPU = torch.device("cpu")


@pytest.mark.slow
def test_this_machine_is_measured_once_and_remembered(tmp_path: Path) -> None:
    first = this_machine(CPU, cache=tmp_path, clock=time.process_time)
    card = first.device
    assert (first.name, card.kind, first.hourly_usd) == ("this", "cpu", None)
    assert 0.05 <= card.efficiency <= 2
    assert 0 < card.operation_seconds < 1
    assert card.dense_flops.bfloat16 is not None
    path = tmp_path / "hardware" / "this.json"
    written = path.stat().st_mtime_ns
    again = this_machine(CPU, cache=tmp_path, hourly_usd=2.5)
    assert path.stat().st_mtime_ns == written
    assert again.hourly_usd == 2.5
    assert again.device.model_copy(update={"price": None}) == card


def test_another_machines_card_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "this.json"
    card = {
        "label": "x",
        "kind": "cpu",
        "memory_bytes": 1,
        "memory_bandwidth": 1.0,
        "dense_flops": {"float32": 1.0},
    }
    identity = _identity(CPU)
    path.write_text(json.dumps({"machine": identity, "card": card}), encoding="utf-8")
    assert _remembered(path, identity) is not None
    assert _remembered(path, {**identity, "threads": 99}) is None
    path.write_text("{", encoding="utf-8")
    assert _remembered(path, identity) is None
    path.write_text(json.dumps({"machine": identity, "card": {}}), encoding="utf-8")
    assert _remembered(path, identity) is None
