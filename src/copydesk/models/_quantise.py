"""Bases held in 4 bits (QLoRA, Dettmers et al. 2023): loading options and the way back.

Linear layers but the head are quantised in blocks of 64 as they are read; embeddings, norms and
the head keep the number format of the base. bitsandbytes multiplies by the weights that it
dequantises on the way, so the product is that of `dequantise`'s model but for rounding.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from transformers import BitsAndBytesConfig, PreTrainedModel

from copydesk.models._quiet import quiet

_BLOCK = 64
"""Weights that share a scale; bitsandbytes' own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """How a base's linear layers are held in 4 bits."""

    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    """The blocks' scales are quantised too."""


def quantisation_config(quantisation: Quantisation, dtype: torch.dtype) -> BitsAndBytesConfig:
    """For transformers: 4-bit weights, multiplied in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantisation.quant_type,
        bnb_4bit_use_double_quant=quantisation.double_quant,
        bnb_4bit_compute_dtype=dtype,
    )


def choose_layout(model: PreTrainedModel, *, trained: bool) -> None:
    """Forbid bitsandbytes' layout for CPUs with AVX-512 BF16 where it would do harm.

    bitsandbytes 0.50 turns weights into it at the first forward without gradients, such as the
    scoring before the first step. Its product has no backward pass, rounds to bfloat16 whatever the
    model's number format, and fails where a layer's width is not a whole number of blocks. Where
    it fits, it writes faster.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            rounds = module.compute_dtype != torch.bfloat16
            broken = module.in_features % _BLOCK != 0
            if trained or rounds or broken:
                module.support_avx512bf16_for_cpu = False


def let_go_of_files(model: PreTrainedModel) -> None:
    """Copy what was not quantised out of the mapped weight files.

    A tensor that keeps the file's format is a view of the mapping, and one of them holds the whole
    file in memory: 454 MB beside the 166 MB of SmolLM2-135M in 4 bits.
    """
    for parameter in model.parameters():
        if not isinstance(parameter, Params4bit):
            parameter.data = parameter.data.clone()


def dequantise(model: PreTrainedModel) -> PreTrainedModel:
    """Give a 4-bit model float32 weights again, each the number that its 4 bits stood for."""
    with quiet():
        plain: Any = model.dequantize(dtype=torch.float32)
    return plain.float()
