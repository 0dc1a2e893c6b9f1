"""The packed, chunked path against plain transformers and PEFT, in float32."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import FAMILIES, write_tiny_base
from peft import LoraConfig, PeftModel, get_peft_model
from references import gradients_near, packed_base, reference_loss, some_examples
from transformers import AutoModelForCausalLM

from copydesk.models import (
    Encoded,
    LoraSettings,
    Packed,
    Tuned,
    answer_losses,
    backward_loss,
    families_of,
    find_method,
    pack,
    pack_families,
    split_by_tokens,
    untuned,
)

LAID = pytest.mark.parametrize("shared", [False, True], ids=["apart", "with one start"])


def laid(examples: Sequence[Encoded], shared: bool) -> Packed:
    packed = pack_families(families_of(examples, shared))
    assert (packed.families[0].start > 10) == shared
    return packed


@LAID
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_loss_and_gradients_equal_plain_transformers(
    tmp_path: Path, family: str, tied: bool, shared: bool
) -> None:
    folder = write_tiny_base(tmp_path / "base", family, tied=tied)
    # Several chunks of logits, the last one short.
    base = replace(packed_base(folder), head_chunk=17)
    examples = some_examples(base)[1:]
    targets = sum(example.answer_length for example in examples)
    tuned = find_method("full").prepare(base, find_method("full").settings(), 0)
    total = backward_loss(tuned, laid(examples, shared), divisor=targets)

    plain = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    expected = torch.stack([reference_loss(plain, example) for example in examples]).sum() / targets
    expected.backward()

    assert total / targets == pytest.approx(expected.item(), rel=1e-5)
    reference = dict(plain.named_parameters())
    assert set(tuned.parameters) == set(reference)
    gradients_near(tuned, reference, within=1e-4)


@LAID
def test_sliding_windows_are_kept(tmp_path: Path, shared: bool) -> None:
    folder = write_tiny_base(tmp_path / "base", "gemma2")
    config = (folder / "config.json").read_text()
    assert '"sliding_window": 4096' in config
    (folder / "config.json").write_text(
        config.replace('"sliding_window": 4096', '"sliding_window": 16')
    )
    base = packed_base(folder)
    plain = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    examples = some_examples(base)[1:]
    losses = answer_losses(untuned(base), laid(examples, shared))
    for example, found in zip(examples, losses, strict=True):
        assert found.loss == pytest.approx(reference_loss(plain, example).item(), rel=1e-5)


@LAID
def test_lean_lora_equals_pefts_own_forward_and_gradients(tiny_base: Path, shared: bool) -> None:
    ours = packed_base(tiny_base)
    settings = LoraSettings(lora_r=4, lora_alpha=8)
    tuned = find_method("lora").prepare(ours, settings, 3)
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    theirs = get_peft_model(
        plain,
        LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear"),
    )
    reference = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    assert set(reference) == set(tuned.parameters)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in tuned.parameters.items():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
            reference[name].copy_(parameter)
    # In float64, so that no processor's rounding stands between the two.
    tuned.model.double()
    theirs.double()
    examples = some_examples(ours)[1:]
    targets = sum(example.answer_length for example in examples)
    total = backward_loss(tuned, laid(examples, shared), divisor=targets)
    expected = sum(reference_loss(theirs, example) for example in examples) / targets
    expected.backward()
    assert total / targets == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in tuned.parameters.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, reference[name].grad, rtol=1e-4, atol=1e-7)


def test_a_fresh_adapter_changes_no_bit(tiny_base: Path) -> None:
    base = packed_base(tiny_base)
    examples = some_examples(base)
    before = [item.loss for item in answer_losses(untuned(base), pack(examples))]
    tuned = find_method("lora").prepare(base, LoraSettings(), 0)
    assert [item.loss for item in answer_losses(tuned, pack(examples))] == before


def test_the_seed_draws_the_adapter(tiny_base: Path) -> None:
    def first_weights(seed: int) -> torch.Tensor:
        tuned = find_method("lora").prepare(packed_base(tiny_base), LoraSettings(), seed)
        return next(iter(tuned.parameters.values())).detach().clone()

    assert torch.equal(first_weights(1), first_weights(1))
    assert not torch.equal(first_weights(1), first_weights(2))


def test_examples_packed_together_do_not_see_each_other(tiny_base: Path) -> None:
    base = packed_base(tiny_base)
    examples = some_examples(base)
    together = answer_losses(untuned(base), pack(examples))
    for example, found in zip(examples, together, strict=True):
        (alone,) = answer_losses(untuned(base), pack([example]))
        assert found.tokens == alone.tokens == example.answer_length
        assert found.loss == pytest.approx(alone.loss, rel=1e-6)


def test_unequal_micro_batches_add_up_to_the_whole_batch(tiny_base: Path) -> None:
    base = packed_base(tiny_base)
    tuned = find_method("full").prepare(base, find_method("full").settings(), 0)
    examples = some_examples(base)
    targets = sum(example.answer_length for example in examples)
    backward_loss(tuned, pack(examples), divisor=targets)
    whole = {name: p.grad.clone() for name, p in tuned.parameters.items() if p.grad is not None}
    tuned.model.zero_grad()
    parts = split_by_tokens(examples, 150)
    assert len({sum(example.answer_length for example in part) for part in parts}) > 1
    for part in parts:
        backward_loss(tuned, pack(part), divisor=targets)
    for name, parameter in tuned.parameters.items():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-4, atol=1e-7)


def trained_adapter(folder: Path, base_folder: Path) -> Tuned:
    """An adapter with random weights, saved to `folder`."""
    tuned = find_method("lora").prepare(
        packed_base(base_folder), LoraSettings(lora_r=4, lora_alpha=8), 0
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in tuned.parameters.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    folder.mkdir()
    find_method("lora").save(tuned, folder)
    return tuned


def test_peft_loads_the_adapter_with_equal_logits(tiny_base: Path, tmp_path: Path) -> None:
    tuned = trained_adapter(tmp_path / "adapter", tiny_base)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(plain, str(tmp_path / "adapter"))
    ids = torch.arange(40)[None]
    ours = tuned.model(input_ids=ids, segment_lengths=(40,)).logits
    torch.testing.assert_close(loaded(input_ids=ids).logits, ours, rtol=1e-5, atol=1e-5)
