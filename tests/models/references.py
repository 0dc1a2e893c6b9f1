"""Tiny bases, examples, and losses as plain transformers and PEFT compute them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from copydesk.models import (
    ATTENTION,
    Base,
    BaseStore,
    Encoded,
    Quantisation,
    Tuned,
    encode_example,
    load_base,
)
from copydesk.records import Message

CPU = torch.device("cpu")


def packed_base(folder: Path, quantisation: Quantisation | None = None) -> Base:
    return tiny(folder, attention=ATTENTION, quantisation=quantisation)


def tiny(folder: Path, **options: Any) -> Base:
    """A base in float32, with transformers' own attention unless told otherwise."""
    info = BaseStore(folder.parent / "cache").find(str(folder))
    return load_base(info, device=CPU, **{"dtype": torch.float32, **options})


def some_examples(base: Base, count: int = 5) -> list[Encoded]:
    return [
        encode_example(
            base.tokenizer,
            str(number),
            [Message(role="user", content="Write of rain. " * number)],
            "It rained, é, all day. " * (number + 1),
            max_length=400,
        )
        for number in range(count)
    ]


def reference_loss(model: torch.nn.Module, example: Encoded) -> torch.Tensor:
    """Summed answer loss by transformers' own forward: one example, full logits."""
    ids = torch.tensor([example.ids])
    labels = ids.clone()
    labels[:, : example.prompt_length] = -100
    return model(input_ids=ids, labels=labels).loss * example.answer_length


def plain_model(folder: Path, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **options
    )


def disturb(tuned: Tuned, seed: int = 1) -> None:
    """Move every trained number away from where its method starts, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def plain_peft(tuned: Tuned, plain: Any) -> PeftModel:
    """PEFT's own model of the same method and numbers, on a plain model."""
    assert tuned.peft is not None
    config = copy.deepcopy(tuned.peft.peft_config["default"])
    config.base_model_name_or_path = None
    theirs: Any = get_peft_model(plain, config)
    reference = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    assert set(reference) == set(tuned.parameters)
    with torch.no_grad():
        for name, parameter in tuned.parameters.items():
            reference[name].copy_(parameter)
    return theirs


def gradients_near(
    tuned: Tuned, reference: Mapping[str, torch.nn.Parameter], *, within: float
) -> None:
    """Every trained parameter's gradient is that of the reference, relative to its norm."""
    for name, parameter in tuned.parameters.items():
        wanted = reference[name].grad
        assert parameter.grad is not None and wanted is not None, name
        error = (parameter.grad - wanted).norm() / wanted.norm().clamp_min(1e-12)
        assert float(error) < within, f"{name}: {float(error):.1e}"


def logits(model: Any, length: int = 40) -> torch.Tensor:
    """Of arbitrary tokens, [1, T, V]; virtual positions, if any, left out."""
    ids = torch.arange(length)[None]
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -length:]
