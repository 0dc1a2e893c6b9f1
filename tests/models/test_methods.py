"""Every method: what it declares, where it starts, its gradients, its files and its merge."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_base
from peft import PeftModel
from references import (
    CPU,
    disturb,
    gradients_near,
    logits,
    packed_base,
    plain_model,
    plain_peft,
    reference_loss,
    some_examples,
    tiny,
)
from safetensors.torch import load_file, save_file

from copydesk.errors import Damaged, InvalidInput, WrongBase
from copydesk.models import (
    ATTENTION,
    METHODS,
    BaseStore,
    Tuned,
    answer_losses,
    backward_loss,
    find_method,
    load_adapter,
    load_base,
    merge,
    pack,
    untuned,
)
from copydesk.train import make_settings

SMALL: Mapping[str, Mapping[str, Any]] = {
    "lora": {"lora_r": 4, "lora_alpha": 8},
    "dora": {"lora_r": 4, "lora_alpha": 8},
    "qlora": {"lora_r": 4, "lora_alpha": 8},
    "prefix": {"num_virtual_tokens": 5},
    "prompt": {"num_virtual_tokens": 5},
    "bottleneck": {"reduction_factor": 8},
}
PEFT_ON_WHOLE_BASES = ("lora", "dora", "prefix", "prompt")


def prepared(folder: Path, method: str, **settings: Any) -> Tuned:
    chosen = find_method(method)
    own = chosen.settings(**{**SMALL.get(method, {}), **settings})
    base = packed_base(folder, chosen.quantisation(own))
    return chosen.prepare(base, own, 3)


def saved(tuned: Tuned, folder: Path) -> Path:
    folder.mkdir(parents=True)
    find_method(tuned.method).save(tuned, folder)
    return folder


@pytest.mark.parametrize("method", list(METHODS))
def test_settings_of_other_methods_are_refused(method: str) -> None:
    foreign = "reduction_factor" if method != "bottleneck" else "lora_r"
    with pytest.raises(InvalidInput, match=f"{foreign} is not a setting of {method}"):
        make_settings(method, {foreign: 8})
    run, _ = make_settings(method, {})
    assert run.learning_rate == find_method(method).learning_rate


def test_full_takes_bfloat16_when_asked_and_float32_otherwise() -> None:
    assert find_method("full").dtype("auto", CPU) == torch.float32
    assert find_method("full").dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize("method", ["lora", "dora", "qlora", "bottleneck"])
def test_a_fresh_adapter_changes_no_bit(tiny_base: Path, method: str) -> None:
    chosen = find_method(method)
    own = chosen.settings(**SMALL[method])
    base = packed_base(tiny_base, chosen.quantisation(own))
    examples = pack(some_examples(base))
    before = answer_losses(untuned(base), examples)
    tuned = chosen.prepare(base, own, 0)
    assert answer_losses(tuned, examples) == before
    disturb(tuned)
    assert answer_losses(tuned, examples) != before


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_start_as_words_before_the_text(tiny_base: Path, method: str) -> None:
    tuned = prepared(tiny_base, method)
    words = tuned.base.tokenizer("Write", add_special_tokens=False)["input_ids"]
    assert len(words) == tuned.virtual_tokens == 5
    ids = torch.tensor([[*words, *range(30)]])
    expected = plain_model(tiny_base)(input_ids=ids).logits[:, 5:]
    torch.testing.assert_close(
        logits(plain_peft(tuned, plain_model(tiny_base)), 30), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("lora", {"use_rslora": True}),
        ("dora", {}),
        ("prefix", {}),
        ("prefix", {"prefix_projection": True}),
        ("prompt", {}),
    ],
)
def test_packed_loss_and_gradients_equal_pefts_own(
    tmp_path: Path, family: str, method: str, settings: Mapping[str, Any]
) -> None:
    folder = write_tiny_base(tmp_path / "base", family)
    tuned = prepared(folder, method, **settings)
    disturb(tuned)
    theirs = plain_peft(tuned, plain_model(folder))
    examples = some_examples(tuned.base)
    targets = sum(example.answer_length for example in examples)
    total = backward_loss(tuned, pack(examples), divisor=targets)
    expected = (
        torch.stack([reference_loss(theirs, example) for example in examples]).sum() / targets
    )
    expected.backward()
    assert total / targets == pytest.approx(expected.item(), rel=1e-5)
    reference = dict(theirs.named_parameters())
    gradients_near(tuned, reference, within=1e-4)


@pytest.mark.parametrize("method", list(SMALL))
def test_what_is_trained_is_float32_over_a_bfloat16_base(tiny_base: Path, method: str) -> None:
    chosen = find_method(method)
    own = chosen.settings(**SMALL[method])
    losses: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        info = BaseStore(tiny_base.parent / "cache").find(str(tiny_base))
        base = load_base(
            info,
            device=CPU,
            dtype=dtype,
            attention=ATTENTION,
            quantisation=chosen.quantisation(own),
        )
        tuned = chosen.prepare(base, own, 3)
        disturb(tuned)
        losses[dtype] = backward_loss(tuned, pack(some_examples(base)), divisor=100)
        for name, parameter in tuned.parameters.items():
            assert parameter.dtype == torch.float32, name
            assert parameter.grad is not None and bool(parameter.grad.any()), name
    assert losses[torch.bfloat16] == pytest.approx(losses[torch.float32], rel=0.02)
    assert losses[torch.bfloat16] != losses[torch.float32]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("lora", {}),
        ("lora", {"init_lora_weights": "pissa"}),
        ("dora", {}),
        ("prefix", {"prefix_projection": True}),
        ("bottleneck", {}),
    ],
)
def test_the_seed_draws_the_start_and_nothing_else_does(
    tiny_base: Path, method: str, settings: Mapping[str, Any]
) -> None:
    """A resumed run starts from the same numbers, PiSSA's changed base among them."""

    def start(seed: int) -> dict[str, torch.Tensor]:
        own = find_method(method).settings(**{**SMALL[method], **settings})
        tuned = find_method(method).prepare(packed_base(tiny_base), own, seed)
        whole = dict(tuned.model.named_parameters()) | dict(tuned.parameters)
        return {name: parameter.detach().clone() for name, parameter in whole.items()}

    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = start(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = start(1), start(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_loraplus_names_every_b_and_nothing_else(tiny_base: Path) -> None:
    tuned = prepared(tiny_base, "lora", loraplus_lr_ratio=16)
    assert tuned.rate_factors == {name: 16 for name in tuned.parameters if ".lora_B." in name}
    assert 2 * len(tuned.rate_factors) == len(tuned.parameters)
    assert prepared(tiny_base, "lora").rate_factors == {}


@pytest.mark.parametrize("method", PEFT_ON_WHOLE_BASES)
def test_what_is_saved_loads_in_peft_with_equal_logits(
    tiny_base: Path, tmp_path: Path, method: str
) -> None:
    tuned = prepared(tiny_base, method)
    disturb(tuned)
    folder = saved(tuned, tmp_path / "adapter")
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == (
        tiny_base.name
    )
    theirs = PeftModel.from_pretrained(plain_model(tiny_base), str(folder))
    expected = logits(plain_peft(tuned, plain_model(tiny_base)))
    torch.testing.assert_close(logits(theirs), expected, rtol=1e-5, atol=1e-5)
    examples = some_examples(tuned.base)
    for example, found in zip(examples, answer_losses(tuned, pack(examples)), strict=True):
        with torch.no_grad():
            assert found.loss == pytest.approx(reference_loss(theirs, example).item(), rel=1e-5)


@pytest.mark.parametrize("method", list(SMALL))
def test_what_is_saved_scores_the_same_when_loaded_again(
    tiny_base: Path, tmp_path: Path, method: str
) -> None:
    tuned = prepared(tiny_base, method)
    disturb(tuned)
    folder = saved(tuned, tmp_path / "adapter")
    base = packed_base(tiny_base, tuned.base.quantisation)
    again = load_adapter(base, folder, bound_to=base.info.digest)
    assert not any(parameter.requires_grad for parameter in again.model.parameters())
    examples = pack(some_examples(base))
    for one, other in zip(
        answer_losses(again, examples), answer_losses(tuned, examples), strict=True
    ):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_pissa_is_saved_for_the_untouched_base(
    tiny_base: Path, tmp_path: Path, use_rslora: bool
) -> None:
    tuned = prepared(tiny_base, "lora", init_lora_weights="pissa", use_rslora=use_rslora)
    name, first = next((n, p) for n, p in tuned.initial.items() if "q_proj.lora_A" in n)
    whole = plain_model(tiny_base)
    layer = "model.layers.0.self_attn.q_proj"
    values = torch.linalg.svdvals(whole.get_submodule(layer).weight)
    second = tuned.initial[name.replace("lora_A", "lora_B")]
    scale = 8 / 4**0.5 if use_rslora else 8 / 4
    taken = torch.linalg.svdvals(scale * second @ first)[:4]
    # The randomised decomposition is within percents even of this flat, random spectrum.
    torch.testing.assert_close(taken, values[:4], rtol=0.04, atol=0)

    start = saved(tuned, tmp_path / "start")
    untouched = logits(whole)
    fresh = PeftModel.from_pretrained(plain_model(tiny_base), str(start))
    torch.testing.assert_close(logits(fresh), untouched, rtol=1e-4, atol=1e-4)

    disturb(tuned)
    folder = saved(tuned, tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(plain_model(tiny_base), str(folder))
    config: Any = theirs.peft_config["default"]
    assert config.r == 8 and config.init_lora_weights is True
    ids = torch.arange(40)[None]
    ours = tuned.model(input_ids=ids, segment_lengths=(40,)).logits
    torch.testing.assert_close(logits(theirs), ours, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(theirs), untouched, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_merged_equals_unmerged(tiny_base: Path, tmp_path: Path, method: str) -> None:
    tuned = prepared(tiny_base, method)
    disturb(tuned)
    folder = saved(tuned, tmp_path / "adapter")
    base = tiny(tiny_base)
    loaded = load_adapter(base, folder, bound_to=base.info.digest)
    unmerged = logits(loaded.model)
    torch.testing.assert_close(logits(merge(loaded)), unmerged, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(unmerged, logits(plain_model(tiny_base)), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if not m.merges])
def test_what_does_not_merge_says_so(tiny_base: Path, method: str) -> None:
    with pytest.raises(InvalidInput, match=f"method {method} cannot be merged"):
        merge(prepared(tiny_base, method))


@pytest.mark.parametrize("method", list(SMALL))
def test_an_adapter_of_another_base_is_refused(
    tiny_base: Path, tmp_path: Path, method: str
) -> None:
    folder = saved(prepared(tiny_base, method), tmp_path / "adapter")
    with pytest.raises(WrongBase, match="trained on base 000000000000"):
        load_adapter(tiny(tiny_base), folder, bound_to="0" * 64)


@pytest.mark.parametrize("method", [name for name in SMALL if name != "qlora"])
@pytest.mark.parametrize("harm", ["nan", "missing", "odd", "shape"])
def test_a_damaged_adapter_is_refused(
    tiny_base: Path, tmp_path: Path, method: str, harm: str
) -> None:
    folder = saved(prepared(tiny_base, method), tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    if harm == "nan":
        tensors[name][-1] = float("nan")
    elif harm == "missing":
        del tensors[name]
    elif harm == "odd":
        tensors["unheard_of"] = torch.zeros(2)
    else:
        tensors[name] = tensors[name][1:].contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    base = tiny(tiny_base)
    with pytest.raises(Damaged, match="Train it again"):
        load_adapter(base, folder, bound_to=base.info.digest)
