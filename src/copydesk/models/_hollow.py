"""A base without its numbers: every tensor has a shape and a format, and no memory.

An architecture built on torch's meta device can be put under a method and run through the loss as
any other base; what that would take can be counted without taking it.
"""

from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import QuantState
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from copydesk.errors import InvalidInput
from copydesk.models import _attention
from copydesk.models._bases import BaseInfo
from copydesk.models._kernels import can_compile
from copydesk.models._load import Base, head_chunk
from copydesk.models._quantise import Quantisation, choose_layout
from copydesk.models._quiet import quiet

META = torch.device("meta")
_BLOCK = 64
"""Weights that share a scale, as bitsandbytes has it; 256 scales share one of theirs."""
_NESTED = 256
_EXPERTS = "grouped_mm"
"""How experts are multiplied: transformers' default, and the one whose shapes no router decides."""


def hollow_base(
    config: PretrainedConfig,
    name: str,
    *,
    dtype: torch.dtype,
    quantisation: Quantisation | None = None,
    on_cpu: bool = True,
) -> Base:
    """A base of this architecture on the meta device, frozen, with packed attention.

    Its tokenizer gives one token a character, which suffices for the first words of virtual
    tokens. That the architecture packs is assumed here; `load_base` tries it.

    Args:
        config: of a causal language model.
        name: what errors call it.
        dtype: of the weights.
        quantisation: linear layers but the head are 4-bit ones.
        on_cpu: attention is that of a CPU; otherwise PyTorch's fused kernel.

    Raises:
        InvalidInput: transformers cannot build it.
    """
    _attention.register()
    try:
        with quiet(), META:
            model: Any = AutoModelForCausalLM.from_config(
                config,
                dtype=dtype,
                attn_implementation=_attention.ATTENTION if on_cpu else _attention.FUSED,
            )
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InvalidInput(
            f"transformers cannot build {name}: {str(error).splitlines()[0]}",
            where="config.json",
            todo="It must be a causal language model that transformers knows.",
        ) from error
    if hasattr(model, "set_experts_implementation") and _has_experts(model):
        model.set_experts_implementation(_EXPERTS)
    if quantisation is not None:
        _quantise(model, quantisation, dtype)
    model.requires_grad_(False)
    model.eval()
    return Base(
        info=BaseInfo(name=name, path=Path(name), digest="", bytes=0),
        model=model,
        tokenizer=_letters,
        device=META,
        dtype=dtype,
        packed=True,
        head_chunk=head_chunk("cpu" if on_cpu else "cuda"),
        compiled=can_compile("cpu" if on_cpu else "cuda", dtype),
        quantisation=quantisation,
    )


def _letters(text: str, **_: Any) -> dict[str, list[int]]:
    return {"input_ids": [0] * len(text)}


def _has_experts(model: nn.Module) -> bool:
    return any(parameter.dim() == 3 and parameter.shape[0] > 1 for parameter in model.parameters())


def _quantise(model: Any, quantisation: Quantisation, dtype: torch.dtype) -> None:
    """Put 4-bit layers where transformers would: linear layers but the head."""
    head = model.get_output_embeddings()
    found = [(name, module) for name, module in model.named_modules() if type(module) is nn.Linear]
    for name, module in found:
        if module is not head:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, _four_bit(module, quantisation, dtype))
    model.is_loaded_in_4bit = True
    model.is_quantized = True
    choose_layout(model, trained=True)


def _four_bit(linear: Any, quantisation: Quantisation, dtype: torch.dtype) -> Linear4bit:
    made: Any = Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=dtype,
        compress_statistics=quantisation.double_quant,
        quant_type=quantisation.quant_type,
        device=META,
    )
    made.bias = linear.bias
    count = linear.weight.numel()
    blocks = -(-count // _BLOCK)
    state = QuantState(
        absmax=_empty(blocks, torch.float32),
        shape=linear.weight.shape,
        code=_empty(16, torch.float32),
        blocksize=_BLOCK,
        quant_type=quantisation.quant_type,
        dtype=dtype,
    )
    if quantisation.double_quant:
        state = QuantState(
            absmax=_empty(blocks, torch.uint8),
            shape=state.shape,
            code=state.code,
            blocksize=_BLOCK,
            quant_type=state.quant_type,
            dtype=dtype,
            offset=torch.empty((), device=META),
            state2=QuantState(
                absmax=_empty(-(-blocks // _NESTED), torch.float32),
                code=_empty(256, torch.float32),
                blocksize=_NESTED,
                dtype=torch.float32,
            ),
        )
    parameter: Any = Params4bit
    made.weight = parameter(
        torch.empty((-(-count // 2), 1), dtype=torch.uint8, device=META),
        requires_grad=False,
        quant_state=state,
        compress_statistics=quantisation.double_quant,
        quant_type=quantisation.quant_type,
        bnb_quantized=True,
        module=made,
    )
    made.quant_state = state
    return made


def _empty(count: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(count, dtype=dtype, device=META)


def quantisation_tensors(model: nn.Module) -> list[torch.Tensor]:
    """Scales and codes of a model's 4-bit layers, which are no parameters of it."""
    found: list[torch.Tensor] = []
    for module in model.modules():
        state: Any = getattr(module, "quant_state", None)
        if not isinstance(module, Linear4bit) or state is None:
            continue
        for one in (state, state.state2):
            if one is not None:
                found += [one.absmax, one.code]
    return found
