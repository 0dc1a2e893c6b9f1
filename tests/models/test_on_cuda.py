"""What runs on a GPU: flash attention for packed rows, NF4, the loop, and many clients at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from conftest import FAMILIES, write_tiny_base
from peft import PeftModel
from references import disturb, gradients_near, plain_peft, reference_loss, some_examples
from torch.nn import functional
from training import examples_for, run_loop, weights
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from copydesk.models import (
    ATTENTION,
    Base,
    BaseStore,
    Quantisation,
    Tuned,
    answer_losses,
    backward_loss,
    find_method,
    load_base,
    pack,
    untuned,
)
from copydesk.models import _attention as attention_module
from copydesk.models._flash import flash_attention
from copydesk.models._frozen import can_freeze
from copydesk.train import make_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
CUDA = torch.device("cuda")


def on_cuda(folder: Path, dtype: torch.dtype, quantisation: Quantisation | None = None) -> Base:
    info = BaseStore(folder.parent / "cache").find(str(folder))
    return load_base(info, device=CUDA, dtype=dtype, attention=ATTENTION, quantisation=quantisation)


def prepared(folder: Path, method: str, **overrides: Any) -> tuple[Tuned, Any]:
    run, own = make_settings(method, overrides)
    chosen = find_method(method)
    base = on_cuda(folder, chosen.dtype(run.dtype, CUDA), chosen.quantisation(own))
    return chosen.prepare(base, own, run.seed), run


def on_device(example: Any, model: torch.nn.Module) -> torch.Tensor:
    """Summed answer loss by transformers' own forward."""
    ids = torch.tensor([example.ids], device=CUDA)
    labels = ids.clone()
    labels[:, : example.prompt_length] = -100
    return model(input_ids=ids, labels=labels).loss * example.answer_length


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
@pytest.mark.parametrize("size", [16, 64])
def test_flash_equals_attention_of_each_example(
    window: int | None, heads: tuple[int, int], size: int
) -> None:
    lengths = (5, 1, 40, 130)
    generator = torch.Generator().manual_seed(1)
    wide = [torch.randn(h, sum(lengths), size, generator=generator) for h in (*heads, heads[1])]
    ours: Any = [t.to(CUDA, torch.bfloat16).requires_grad_() for t in wide]
    theirs = [t.detach().float().requires_grad_() for t in ours]
    found_THK = flash_attention(ours[0], ours[1], ours[2], lengths, None, window)
    pieces = []
    for query, key, value in zip(*(t.split(lengths, 1) for t in theirs), strict=True):
        place = torch.arange(query.shape[1], device=CUDA)
        distance = place[:, None] - place
        seen = (distance >= 0) & (distance < (window or 1_000))
        attended = functional.scaled_dot_product_attention(
            query[None], key[None], value[None], attn_mask=seen, enable_gqa=True
        )
        pieces.append(attended[0].transpose(0, 1))
    wanted_THK = torch.cat(pieces)
    torch.testing.assert_close(found_THK.float(), wanted_THK, rtol=0.02, atol=0.02)
    gradient = torch.randn(wanted_THK.shape, generator=generator).to(CUDA)
    found_THK.backward(gradient.bfloat16())
    wanted_THK.backward(gradient.bfloat16().float())
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None and other.grad is not None
        torch.testing.assert_close(mine.grad.float(), other.grad, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_loss_and_gradients_equal_plain_transformers(tmp_path: Path, family: str) -> None:
    folder = write_tiny_base(tmp_path / "base", family)
    base = on_cuda(folder, torch.float32)
    examples = some_examples(base)
    targets = sum(example.answer_length for example in examples)
    tuned = find_method("full").prepare(base, find_method("full").settings(), 0)
    total = backward_loss(tuned, pack(examples).to(CUDA), divisor=targets)
    plain: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    plain.to(CUDA)
    expected = torch.stack([on_device(example, plain) for example in examples]).sum() / targets
    expected.backward()
    assert total / targets == pytest.approx(expected.item(), rel=1e-5)
    reference = dict(plain.named_parameters())
    gradients_near(tuned, reference, within=1e-4)


def test_half_precision_takes_flash_attention(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []

    def seen(*given: Any) -> torch.Tensor:
        calls.append(tuple(given[3]))
        return flash_attention(*given)

    monkeypatch.setattr(attention_module, "flash_attention", seen)
    base = on_cuda(tiny_base, torch.bfloat16)
    assert base.packed
    examples = some_examples(base)
    together = answer_losses(untuned(base), pack(examples).to(CUDA))
    assert calls and calls[-1] == tuple(len(example.ids) for example in examples)
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    for example, found in zip(examples, together, strict=True):
        assert found.loss == pytest.approx(reference_loss(plain, example).item(), rel=0.02)


def test_four_bits_equal_pefts_own(tiny_base: Path) -> None:
    base = on_cuda(tiny_base, torch.float32, Quantisation())
    method = find_method("qlora")
    tuned = method.prepare(base, method.settings(lora_r=4), 3)
    disturb_on_device(tuned)
    held = [module for module in tuned.model.modules() if isinstance(module, Linear4bit)]
    assert held and all(can_freeze(module) for module in held)
    plain = AutoModelForCausalLM.from_pretrained(
        tiny_base,
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
        device_map={"": CUDA},
    )
    theirs = plain_peft(tuned, plain)
    examples = some_examples(base)
    targets = sum(example.answer_length for example in examples)
    total = backward_loss(tuned, pack(examples).to(CUDA), divisor=targets)
    expected = torch.stack([on_device(example, theirs) for example in examples]).sum() / targets
    expected.backward()
    assert total / targets == pytest.approx(expected.item(), rel=1e-4)
    reference = dict(theirs.named_parameters())
    gradients_near(tuned, reference, within=1e-3)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("full", {"dtype": "float32"}),
        ("full", {"dtype": "bfloat16", "optimizer": "adamw_bf16"}),
        ("lora", {"lora_dropout": 0.1}),
        ("dora", {}),
        ("qlora", {"optimizer": "paged_adamw_8bit", "dtype": "bfloat16"}),
        ("prefix", {}),
        ("prompt", {}),
        ("bottleneck", {}),
    ],
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tiny_base: Path, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    settings = {"epochs": 3, "batch_tokens": 512, "learning_rate": 1e-3, **settings}
    tuned, run = prepared(tiny_base, method, **settings)
    whole = run_loop(tuned, run, tmp_path / "whole")
    losses = [point.train_loss for point in whole.curve if point.train_loss is not None]
    assert losses[-1] < losses[0]
    wanted = weights(tuned)
    tuned, run = prepared(tiny_base, method, **settings)
    with pytest.raises(KeyboardInterrupt):
        run_loop(tuned, run, tmp_path / "parts", stop_at=4)
    tuned, run = prepared(tiny_base, method, **settings)
    run_loop(tuned, run, tmp_path / "parts")
    for name, found in weights(tuned).items():
        # Sums on a GPU are made in no fixed order: near, not to the bit.
        torch.testing.assert_close(found, wanted[name], rtol=0.02, atol=2e-3)


def test_an_adapter_trained_on_cuda_loads_in_peft(tiny_base: Path, tmp_path: Path) -> None:
    tuned, run = prepared(tiny_base, "lora", dtype="float32", epochs=2, learning_rate=1e-2)
    run_loop(tuned, run, tmp_path / "run")
    (tmp_path / "adapter").mkdir()
    find_method("lora").save(tuned, tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, str(tmp_path / "adapter"))
    examples = examples_for(tuned, 4)
    ours = answer_losses(tuned, pack(examples).to(CUDA))
    for example, found in zip(examples, ours, strict=True):
        assert found.loss == pytest.approx(reference_loss(theirs, example).item(), rel=1e-4)


def disturb_on_device(tuned: Tuned) -> None:
    """`disturb` where the numbers lie on the GPU."""
    for parameter in tuned.parameters.values():
        parameter.data = parameter.data.cpu()
    disturb(tuned)
    for parameter in tuned.parameters.values():
        parameter.data = parameter.data.to(CUDA)
