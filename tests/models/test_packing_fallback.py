"""Bases that cannot run packed examples: found at load, run one by one, with equal losses."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CONVOLUTION, write_base, write_tiny_base
from references import (
    disturb,
    packed_base,
    plain_model,
    plain_peft,
    reference_loss,
    some_examples,
    tiny,
)
from transformers import (
    BloomConfig,
    FalconConfig,
    PretrainedConfig,
)

from copydesk.evaluate import score
from copydesk.models import answer_losses, backward_loss, find_method, pack, untuned

OWN_ATTENTION = BloomConfig(
    vocab_size=260, hidden_size=64, n_layer=2, n_head=4, initializer_range=0.2, eos_token_id=256
)
"""Bloom computes its own attention and ignores a registered one without a word."""
REFUSED = FalconConfig(
    vocab_size=260,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    initializer_range=0.2,
    eos_token_id=256,
)
"""Falcon does not load with a registered attention at all."""


@pytest.mark.parametrize(
    "config", [OWN_ATTENTION, REFUSED, CONVOLUTION], ids=["bloom", "falcon", "lfm2"]
)
def test_a_base_that_mixes_examples_runs_each_by_itself(
    tmp_path: Path, config: PretrainedConfig, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_base(tmp_path / "base", config)
    with caplog.at_level(logging.WARNING, logger="copydesk"):
        base = packed_base(folder)
    assert not base.packed
    assert "cannot run packed examples" in caplog.text
    tuned = find_method("full").prepare(base, find_method("full").settings(), 0)
    examples = some_examples(base)
    targets = sum(example.answer_length for example in examples)
    total = backward_loss(tuned, pack(examples), divisor=targets)
    plain = plain_model(folder)
    expected = torch.stack([reference_loss(plain, item) for item in examples]).sum() / targets
    expected.backward()
    assert total / targets == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(
            tuned.parameters[name].grad, parameter.grad, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("method", ["lora", "prompt", "prefix"])
def test_methods_work_without_packing(tmp_path: Path, method: str) -> None:
    folder = write_base(tmp_path / "base", OWN_ATTENTION)
    base = packed_base(folder)
    tuned = find_method(method).prepare(base, find_method(method).settings(), 0)
    disturb(tuned)
    theirs: Any = plain_peft(tuned, plain_model(folder))
    examples = some_examples(base)
    for example, found in zip(examples, answer_losses(tuned, pack(examples)), strict=True):
        with torch.no_grad():
            assert found.loss == pytest.approx(reference_loss(theirs, example).item(), rel=1e-5)


def test_a_shared_start_is_not_shared_by_examples_that_run_by_themselves(tmp_path: Path) -> None:
    base = packed_base(write_base(tmp_path / "base", OWN_ATTENTION))
    alike = some_examples(base, 1) * 3
    (one, *others) = score(untuned(base), alike)
    assert others == [one, one]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
def test_a_base_that_keeps_examples_apart_is_packed(
    tmp_path: Path, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_tiny_base(tmp_path / "base", family)
    assert packed_base(folder).packed
    assert not caplog.records
    assert not tiny(folder).packed, "nothing is packed with transformers' own attention"


def test_a_bfloat16_base_is_packed_all_the_same(tiny_base: Path) -> None:
    from copydesk.models import ATTENTION, BaseStore, load_base

    info = BaseStore(tiny_base.parent / "cache").find(str(tiny_base))
    device = torch.device("cpu")
    assert load_base(info, device=device, dtype=torch.bfloat16, attention=ATTENTION).packed
