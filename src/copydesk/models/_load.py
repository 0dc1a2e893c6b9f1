"""Load a base into memory, on a device and in a number format that suits the machine."""

import ctypes
import functools
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
)

from copydesk.errors import InvalidInput, OutOfMemory
from copydesk.models import _attention
from copydesk.models._bases import BaseInfo
from copydesk.models._kernels import can_compile
from copydesk.models._quantise import (
    Quantisation,
    choose_layout,
    let_go_of_files,
    quantisation_config,
)
from copydesk.models._quiet import quiet

_LOG = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Base:
    """A base in memory. All weights are frozen until a method says otherwise."""

    info: BaseInfo
    model: PreTrainedModel
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    """Of the weights; of a 4-bit base, what it multiplies in."""
    packed: bool = False
    """Packed examples run in one forward and do not see each other. Where that is false, each must
    run by itself."""
    quantisation: Quantisation | None = None
    head_chunk: int = 128
    """Positions whose logits are held at once: see `head_chunk`."""
    compiled: bool = False
    """What lies between products is left to the compiled kernels."""


def head_chunk(device_type: str) -> int:
    """Positions whose logits a loss holds at once: 25 MB in float32 on a CPU for a vocabulary of
    49,152, where LoRA on SmolLM2-135M ran no faster with 256; 200 MB on CUDA, which starts eight
    times fewer kernels for it."""
    return 1024 if device_type == "cuda" else 128


def load_base(
    info: BaseInfo,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str | None = None,
    quantisation: Quantisation | None = None,
) -> Base:
    """Load a base's weights and tokenizer.

    A base that is asked for packed attention is tried on two short examples. Where they see each
    other, as in an architecture that brings its own attention or mixes neighbours otherwise, it
    keeps its own attention, `Base.packed` is false, and a warning is logged.

    Args:
        info: from `BaseStore.find`.
        device: where the weights go.
        dtype: of the weights.
        attention: `models.ATTENTION` for packed batches; None, for generation, lets transformers
            choose.
        quantisation: hold the linear layers in 4 bits.

    Raises:
        InvalidInput: the folder holds no causal language model that transformers knows.
        OutOfMemory: the weights do not fit.
    """
    _attention.register()
    try:
        with quiet():
            read = functools.partial(_read_model, info, device, dtype, quantisation)
            if attention == _attention.ATTENTION:
                model, packed = _read_for_packing(info, read)
            else:
                model, packed = read(attention, trained=False), False
            tokenizer = AutoTokenizer.from_pretrained(
                info.path, local_files_only=True, trust_remote_code=False
            )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"The base {info.name} does not fit into memory as {dtype}",
            todo="Choose a smaller base, or set dtype=bfloat16.",
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"The base {info.name} cannot be loaded: {str(error).splitlines()[0]}",
            where=str(info.path),
            todo="It needs config.json, model.safetensors and tokenizer.json.",
        ) from error
    return Base(
        info=info,
        model=model,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        packed=packed,
        quantisation=quantisation,
        head_chunk=head_chunk(device.type),
        compiled=can_compile(device.type, dtype),
    )


def _read_for_packing(info: BaseInfo, read: Callable[..., Any]) -> tuple[Any, bool]:
    """The model with packed attention where that works, else with its own; and which it is."""
    config = AutoConfig.from_pretrained(info.path, local_files_only=True, trust_remote_code=False)
    architecture: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    if architecture._supports_attention_backend:
        model = read(_attention.ATTENTION, trained=True)
        if _keeps_apart(model):
            return model, True
        del model
    _LOG.warning(
        "%s (%s) cannot run packed examples: each runs by itself, which is slower",
        info.name,
        architecture.__name__,
    )
    return read(None, trained=True), False


def _read_model(
    info: BaseInfo,
    device: torch.device,
    dtype: torch.dtype,
    quantisation: Quantisation | None,
    attention: str | None,
    *,
    trained: bool,
) -> Any:
    """The frozen model, in evaluation mode, on its device."""
    options: dict[str, Any] = {}
    if quantisation is not None:
        # Quantised as they are read, where they are to stay.
        options = {
            "quantization_config": quantisation_config(quantisation, dtype),
            "device_map": {"": device},
        }
    model: Any = AutoModelForCausalLM.from_pretrained(
        info.path,
        dtype=dtype,
        attn_implementation=attention,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        **options,
    )
    if quantisation is None:
        model.to(device)
    else:
        let_go_of_files(model)
        choose_layout(model, trained=trained)
    model.requires_grad_(False)
    model.eval()
    return model


@torch.no_grad()
def _keeps_apart(model: Any) -> bool:
    """Whether an example's states are the same alone and packed behind another.

    Convolutions and recurrences take our attention and mix neighbours all the same. Mixing changed
    states by 1.3 times their norm (a random LFM2); rounding, which differs with the shapes, by at
    most 1e-4 in float32 and 4 bits on a CPU. The limits leave room for a GPU's coarser products.
    """
    trunk = getattr(model, model.base_model_prefix)
    lengths = (4, 3)
    ids_T = (
        torch.arange(sum(lengths), device=model.device) % model.config.get_text_config().vocab_size
    )
    positions_T = torch.cat([torch.arange(length) for length in lengths]).to(model.device)

    def states(start: int, segments: tuple[int, ...]) -> torch.Tensor:
        output = trunk(
            input_ids=ids_T[None, start:],
            position_ids=positions_T[None, start:],
            use_cache=False,
            segment_lengths=segments,
        )
        return output.last_hidden_state[0, -lengths[1] :].float()

    try:
        alone = states(lengths[0], lengths[1:])
        together = states(0, lengths)
    except TypeError:  # it takes no positions, or does not hand on what attention needs
        return False
    difference = (together - alone).norm(dim=-1) / alone.norm(dim=-1)
    return bool((difference < (0.01 if model.dtype == torch.float32 else 0.1)).all())


def free_memory() -> None:
    """Return memory of dropped models to the system, so that a later peak is its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        return  # not glibc: the allocator keeps what it likes
