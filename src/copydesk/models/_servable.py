"""Can an adapter be served? What is wrong with its files, and whether it is the same when merged.

Shape letters: L positions of a text, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from copydesk.errors import CopydeskError
from copydesk.models._adapter_files import read_config, read_tensors
from copydesk.models._adapters import load_adapter, merge
from copydesk.models._bases import BaseInfo
from copydesk.models._load import Base, load_base
from copydesk.models._quantise import Quantisation, dequantise
from copydesk.models._tuned import Tuned, untuned


def adapter_faults(folder: Path, *, max_lora_rank: int) -> tuple[str, ...]:
    """What is wrong with an adapter by its files alone; nothing where it is sound.

    A tensor of nothing but zeros is a fault: LoRA's B and a bottleneck's way up start at zero, so
    that one which is still zero was never trained, or was lost; DoRA's lengths would silence their
    layer. Of a prefix or prompt, which is one tensor, each layer's part and each virtual token is
    looked at.

    Args:
        folder: the adapter's.
        max_lora_rank: the highest rank that engines are set to take, as vLLM names it.
    """
    try:
        config, tensors = read_config(folder), read_tensors(folder)
    except CopydeskError as error:
        return (error.what,)
    faults = [
        f"the tensor {name} holds nothing but zeros"
        for name, tensor in sorted(tensors.items())
        if tensor.numel() > 0 and not bool(tensor.any())
    ]
    faults += _dead_parts(config, tensors)
    if not tensors:
        faults.append("it holds no tensor")
    faults += [
        f"the tensor {name} is empty" for name, tensor in tensors.items() if not tensor.numel()
    ]
    patterns = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    highest = max((rank for rank in ranks if isinstance(rank, int)), default=0)
    if highest > max_lora_rank:
        faults.append(f"its rank {highest} is over max_lora_rank, {max_lora_rank}")
    return tuple(faults)


def dead_weights(base: Base) -> tuple[str, ...]:
    """Matrices of a base that hold nothing but zeros. Norms and biases may."""
    return tuple(
        name
        for name, weight in base.model.named_parameters()
        if weight.dim() > 1 and not bool(weight.any())
    )


def merge_difference(
    info: BaseInfo,
    folder: Path,
    *,
    bound_to: str,
    quantisation: Quantisation | None,
    dtype: torch.dtype,
    texts: Sequence[Sequence[int]],
) -> float:
    """How far the logits of the merged model are from those of the adapter beside its base.

    The norm of the difference over the norm of the logits, the largest of all texts, in float32 on
    the CPU, where it is rounding alone. An adapter of a 4-bit base is merged into the weights that
    the 4 bits stand for.

    Args:
        info: the base.
        folder: the adapter's, of a method that merges.
        bound_to: digest of the base that it was trained on.
        quantisation: as the base was held in training; None for weights as they are.
        dtype: that a 4-bit base was trained in.
        texts: token ids of each text.

    Raises:
        WrongBase, Damaged: as `load_adapter`.
    """
    cpu = torch.device("cpu")
    held = torch.float32 if quantisation is None else dtype
    base = load_base(info, device=cpu, dtype=held, quantisation=quantisation)
    if quantisation is not None:
        base.model = dequantise(base.model)
        base.quantisation, base.dtype = None, torch.float32
    tuned = load_adapter(base, folder, bound_to=bound_to)
    beside = [text_logits(tuned, ids) for ids in texts]
    base.model = merge(tuned)
    merged = untuned(base)
    return max(
        float((text_logits(merged, ids) - logits_LV).norm() / logits_LV.norm())
        for ids, logits_LV in zip(texts, beside, strict=True)
    )


def _dead_parts(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Virtual tokens, and a prefix's keys or values of a layer, that are nothing but zeros."""
    virtual = tensors.get("prompt_embeddings")
    if virtual is None or virtual.dim() != 2 or not bool(virtual.any()):
        return []
    faults = [
        f"the virtual token {number} holds nothing but zeros"
        for number in range(len(virtual))
        if not bool(virtual[number].any())
    ]
    layers = config.get("num_layers")
    if config.get("peft_type") == "PREFIX_TUNING" and isinstance(layers, int) and layers > 0:
        # [P, layers x (keys, values) x H_kv x K]; another width is found where it is loaded.
        for number, part in enumerate(virtual.tensor_split(2 * layers, dim=1)):
            if not bool(part.any()):
                kind = "values" if number % 2 else "keys"
                faults.append(f"the {kind} of layer {number // 2} hold nothing but zeros")
    return faults


def finite_logits(tuned: Tuned, texts: Sequence[Sequence[int]]) -> bool:
    """Whether all logits of some texts are numbers."""
    return all(bool(torch.isfinite(text_logits(tuned, ids)).all()) for ids in texts)


def weights_finite(base: Base) -> bool:
    """Whether all weights of a base are numbers."""
    return all(bool(torch.isfinite(weight).all()) for weight in base.model.parameters())


def text_logits(tuned: Tuned, ids: Sequence[int]) -> torch.Tensor:
    """Logits [L, V] of a text in float32, by one forward; before them those of virtual tokens that
    prompt tuning runs as positions."""
    speaker: Any = tuned.virtual.wrapper if tuned.virtual else tuned.model
    tokens = torch.tensor([list(ids)], device=tuned.base.device)
    with torch.inference_mode():
        logits_LV: torch.Tensor = speaker(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
        ).logits[0]
    return logits_LV.float()
