"""Tuning methods: which parameters they train, and what they leave on disk.

| method | trains | leaves |
|---|---|---|
| `full` | every parameter, in float32 or bfloat16 | a base in Hugging Face layout |
| `lora` | low-rank pairs beside the linear layers (Hu et al. 2021) | a PEFT folder |
| `dora` | the same, and the length of each output apart (Liu et al. 2024) | a PEFT folder |
| `qlora` | LoRA over a base in 4 bits (Dettmers et al. 2023) | a PEFT folder |
| `prefix` | keys and values before every text (Li and Liang 2021) | a PEFT folder |
| `prompt` | embeddings before every text (Lester et al. 2021) | a PEFT folder |
| `bottleneck` | small modules behind the blocks (Houlsby et al. 2019) | our own format |

What adapters train is float32, whatever the base is held in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from copydesk.errors import UnknownName
from copydesk.models._bottleneck import prepare_bottleneck, save_bottleneck
from copydesk.models._load import Base
from copydesk.models._low_rank import prepare_low_rank, save_low_rank
from copydesk.models._method_settings import (
    BottleneckSettings,
    DoraSettings,
    FullSettings,
    LoraSettings,
    MethodSettings,
    PrefixSettings,
    PromptSettings,
    QloraSettings,
)
from copydesk.models._number_format import pick_dtype
from copydesk.models._quantise import Quantisation
from copydesk.models._quiet import quiet
from copydesk.models._tuned import Tuned
from copydesk.models._virtual import prepare_prefix, prepare_prompt, save_virtual
from copydesk.store import storage_errors


def _as_it_is(_: MethodSettings) -> Quantisation | None:
    return None


def _in_four_bits(settings: MethodSettings) -> Quantisation | None:
    assert isinstance(settings, QloraSettings)
    return Quantisation(
        quant_type=settings.bnb_4bit_quant_type, double_quant=settings.bnb_4bit_use_double_quant
    )


def can_share_starts(settings: MethodSettings) -> bool:
    """Whether the examples of a step can have their common start in common, as far as the settings
    tell; see `shares_starts`."""
    alone = isinstance(settings, PromptSettings | PrefixSettings)
    return not alone and not getattr(settings, "lora_dropout", 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A tuning method, as a value."""

    name: str
    label: str
    settings: type[Any]
    """One of `MethodSettings`."""
    learning_rate: float
    """The default; METHODS says where each is from."""
    leaves: Literal["adapter", "base"]
    merges: bool
    """Whether what it leaves folds into the base's weights, or is a base already."""
    engines: tuple[str, ...]
    """What can serve what it leaves: `copydesk`; `peft`, which is transformers with PEFT; `vllm`,
    which as of 0.32 takes plain LoRA of any scale, and neither DoRA (its issue 10849) nor virtual
    tokens."""
    dtype: Callable[[str, torch.device], torch.dtype]
    """The number format of the base's weights, from the wanted one and the device."""
    prepare: Callable[[Base, Any, int], Tuned]
    """Make the parameters trainable: base, settings, seed."""
    save: Callable[[Tuned, Path], None]
    """Write what the method leaves into an existing folder."""
    quantisation: Callable[[Any], Quantisation | None] = _as_it_is
    """How the base must be loaded, from the settings; None for weights as they are."""


def _full_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Weights that are trained are float32 unless bfloat16 is asked for.

    In bfloat16 small updates round to nothing, which stochastic rounding in the optimiser mends.
    """
    return pick_dtype("float32" if wanted == "auto" else wanted, device)


def _prepare_full(base: Base, settings: FullSettings, seed: int) -> Tuned:
    del settings, seed
    base.model.requires_grad_(True)
    return Tuned(
        method="full",
        base=base,
        model=base.model,
        parameters=dict(base.model.named_parameters()),
    )


def _save_full(tuned: Tuned, folder: Path) -> None:
    with quiet(), storage_errors(folder):
        tuned.model.save_pretrained(folder)
        tuned.base.tokenizer.save_pretrained(folder)


_LISTED = (
    Method(
        name="full",
        label="full fine-tuning",
        settings=FullSettings,
        learning_rate=2e-4,  # a tenth of LoRA's
        leaves="base",
        merges=True,
        engines=("copydesk", "peft", "vllm"),
        dtype=_full_dtype,
        prepare=_prepare_full,
        save=_save_full,
    ),
    Method(
        name="lora",
        label="LoRA",
        settings=LoraSettings,
        # About ten times full fine-tuning's best rate (LoRA Without Regret, Schulman et al. 2025).
        learning_rate=2e-3,
        leaves="adapter",
        merges=True,
        engines=("copydesk", "peft", "vllm"),
        dtype=pick_dtype,
        prepare=partial(prepare_low_rank, "lora"),
        save=save_low_rank,
    ),
    Method(
        name="dora",
        label="DoRA",
        settings=DoraSettings,
        learning_rate=2e-3,  # as LoRA's: Liu et al. (2024) tune both around the same rates
        leaves="adapter",
        merges=True,
        engines=("copydesk", "peft"),
        dtype=pick_dtype,
        prepare=partial(prepare_low_rank, "dora"),
        save=save_low_rank,
    ),
    Method(
        name="qlora",
        label="QLoRA",
        settings=QloraSettings,
        learning_rate=2e-3,  # as LoRA's: Dettmers et al. (2023) carry the 16-bit rate over
        leaves="adapter",
        merges=True,
        engines=("copydesk", "peft", "vllm"),
        dtype=pick_dtype,
        prepare=partial(prepare_low_rank, "qlora"),
        save=save_low_rank,
        quantisation=_in_four_bits,
    ),
    Method(
        name="prefix",
        label="prefix tuning",
        settings=PrefixSettings,
        learning_rate=1e-2,  # PEFT's guide to prefix tuning
        leaves="adapter",
        merges=False,
        engines=("copydesk", "peft"),
        dtype=pick_dtype,
        prepare=prepare_prefix,
        save=save_virtual,
    ),
    Method(
        name="prompt",
        label="prompt tuning",
        settings=PromptSettings,
        learning_rate=3e-2,  # PEFT's guide to prompt tuning
        leaves="adapter",
        merges=False,
        engines=("copydesk", "peft"),
        dtype=pick_dtype,
        prepare=prepare_prompt,
        save=save_virtual,
    ),
    Method(
        name="bottleneck",
        label="bottleneck adapters",
        settings=BottleneckSettings,
        learning_rate=1e-3,  # within the range that Houlsby et al. (2019) sweep, 3e-5 to 3e-3
        leaves="adapter",
        merges=False,
        engines=("copydesk",),
        dtype=pick_dtype,
        prepare=prepare_bottleneck,
        save=save_bottleneck,
    ),
)

METHODS: Mapping[str, Method] = {method.name: method for method in _LISTED}


def find_method(name: str) -> Method:
    """A method by name.

    Raises:
        UnknownName: there is none of that name; lists those there are.
    """
    if name not in METHODS:
        raise UnknownName(
            f"There is no method {name!r}", todo=f"Methods are: {', '.join(METHODS)}."
        )
    return METHODS[name]
