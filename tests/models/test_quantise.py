"""QLoRA's base: the packed path on 4-bit weights, what they stand for, and both merges."""

from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from references import (
    CPU,
    disturb,
    gradients_near,
    logits,
    packed_base,
    plain_model,
    reference_loss,
    some_examples,
    tiny,
)
from transformers import BitsAndBytesConfig

from copydesk.errors import InvalidInput
from copydesk.models import (
    ATTENTION,
    Base,
    QloraSettings,
    Quantisation,
    Tuned,
    answer_losses,
    backward_loss,
    find_method,
    merge,
    merge_quantised,
    pack,
    untuned,
)
from copydesk.models._quantise import choose_layout

NF4 = Quantisation()
FOUR_BITS = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
)


@pytest.fixture
def tuned(tiny_base: Path) -> Tuned:
    settings = QloraSettings(lora_r=4, lora_alpha=8)
    made = find_method("qlora").prepare(packed_base(tiny_base, NF4), settings, 0)
    disturb(made)
    return made


@pytest.fixture
def adapter(tuned: Tuned, tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    find_method("qlora").save(tuned, folder)
    return folder


def test_the_settings_say_how_the_base_is_held() -> None:
    read = find_method("qlora").quantisation
    assert read(QloraSettings()) == Quantisation(quant_type="nf4", double_quant=True)
    assert read(
        QloraSettings(bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=False)
    ) == Quantisation(quant_type="fp4", double_quant=False)


@pytest.mark.parametrize("quantisation", [NF4, Quantisation(quant_type="fp4", double_quant=False)])
def test_linear_layers_are_held_in_four_bits(tiny_base: Path, quantisation: Quantisation) -> None:
    model = packed_base(tiny_base, quantisation).model
    plain = plain_model(tiny_base)
    place = "model.layers.1.mlp.up_proj"
    held = model.get_submodule(place).weight
    assert held.dtype == torch.uint8 and held.numel() * 2 == 64 * 96
    found = dequantize_4bit(held.data, held.quant_state)
    packed, state = quantize_4bit(
        plain.get_submodule(place).weight.data,
        quant_type=quantisation.quant_type,
        compress_statistics=quantisation.double_quant,
        blocksize=64,
    )
    assert torch.equal(found, dequantize_4bit(packed, state))
    assert model.get_output_embeddings().weight.dtype == torch.float32


def test_packed_loss_and_gradients_equal_pefts_on_the_same_four_bits(
    tiny_base: Path, tuned: Tuned, adapter: Path
) -> None:
    plain = plain_model(tiny_base, quantization_config=FOUR_BITS, device_map={"": "cpu"})
    choose_layout(plain, trained=True)  # with AVX-512 BF16 it would multiply by rounded weights
    theirs = PeftModel.from_pretrained(plain, str(adapter), is_trainable=True)
    examples = some_examples(tuned.base)
    targets = sum(example.answer_length for example in examples)
    answer_losses(tuned, pack(examples))  # scoring first must leave the weights differentiable
    total = backward_loss(tuned, pack(examples), divisor=targets)
    expected = torch.stack([reference_loss(theirs, item) for item in examples]).sum() / targets
    expected.backward()
    assert total / targets == pytest.approx(expected.item(), rel=1e-5)
    reference = dict(theirs.named_parameters())
    gradients_near(tuned, reference, within=1e-4)
    assert all(parameter.dtype == torch.float32 for parameter in tuned.parameters.values())


def test_merging_into_four_bits_is_refused(tuned: Tuned) -> None:
    with pytest.raises(InvalidInput, match="held in 4 bits"):
        merge(tuned)


def test_both_merges_are_what_they_say(tiny_base: Path, tuned: Tuned, adapter: Path) -> None:
    def merged(into: str) -> Tuned:
        return untuned(
            merge_quantised(
                tuned.base.info,
                adapter,
                bound_to=tuned.base.info.digest,
                quantisation=NF4,
                dtype=torch.float32,
                into=into,  # pyright: ignore[reportArgumentType]
                device=CPU,
                attention=ATTENTION,
            )
        )

    examples = pack(some_examples(tuned.base))
    trained = [item.loss for item in answer_losses(tuned, examples)]
    into_dequantised = merged("dequantised")
    assert [item.loss for item in answer_losses(into_dequantised, examples)] == pytest.approx(
        trained, rel=1e-5
    )
    into_original = [item.loss for item in answer_losses(merged("original"), examples)]
    on_the_original = PeftModel.from_pretrained(plain_model(tiny_base), str(adapter))
    with torch.no_grad():
        expected = [
            reference_loss(on_the_original, item).item() for item in some_examples(tuned.base)
        ]
    assert into_original == pytest.approx(expected, rel=1e-5)
    assert into_original != pytest.approx(trained, rel=1e-3)


def test_a_merged_model_is_an_ordinary_base(
    tiny_base: Path, tuned: Tuned, adapter: Path, tmp_path: Path
) -> None:
    base = merge_quantised(
        tuned.base.info,
        adapter,
        bound_to=tuned.base.info.digest,
        quantisation=NF4,
        dtype=torch.float32,
        into="dequantised",
        device=CPU,
    )
    base.model.save_pretrained(tmp_path / "merged")
    assert "quantization" not in (tmp_path / "merged" / "config.json").read_text()
    again = plain_model(tmp_path / "merged")
    torch.testing.assert_close(logits(again), logits(base.model), rtol=1e-4, atol=1e-4)


def test_the_layout_for_generation_is_used_where_it_does_no_harm(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU with AVX-512 BF16, bitsandbytes repacks weights at the first forward that scores."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)

    def repacked(base: Base) -> set[str]:
        return {
            name.rpartition(".")[2]
            for name, module in base.model.named_modules()
            if isinstance(module, Linear4bit) and module.support_avx512bf16_for_cpu
        }

    assert repacked(packed_base(tiny_base, NF4)) == set(), "it has no backward pass"
    assert repacked(tiny(tiny_base, quantisation=NF4)) == set(), "it would round float32"
    half = tiny(tiny_base, quantisation=NF4, dtype=torch.bfloat16)
    whole = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"}
    assert repacked(half) == whole, "down_proj reads 96 numbers, which are not whole blocks of 64"


def test_the_layout_for_generation_multiplies_by_the_same_weights(tiny_base: Path) -> None:
    """Where this processor has no such layout, the usual product is tried."""

    def q_proj() -> Linear4bit:
        half = tiny(tiny_base, quantisation=NF4, dtype=torch.bfloat16).model
        layer = half.get_submodule("model.layers.0.self_attn.q_proj")
        assert isinstance(layer, Linear4bit)
        return layer

    repacked, plain = q_proj(), q_proj()
    weight = dequantize_4bit(plain.weight.data, plain.weight.quant_state).float()
    x_TD = torch.randn(40, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.no_grad():
        wanted = x_TD.float() @ weight.T
        error = (repacked(x_TD).float() - wanted).norm() / wanted.norm()
    assert float(error) < 0.01
