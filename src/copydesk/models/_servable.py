"""Can an adapter be served? What is wrong with its files, and whether it is the same when merged.

Shape letters: L positions of a text, V vocabulary.
"""

from collections.abc import Sequence
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

    A matrix of nothing but zeros is a fault: B starts at zero, so that one which is still zero
    was never trained, or was lost.

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
    beside = [_logits(tuned, ids) for ids in texts]
    base.model = merge(tuned)
    merged = untuned(base)
    return max(
        float((_logits(merged, ids) - logits_LV).norm() / logits_LV.norm())
        for ids, logits_LV in zip(texts, beside, strict=True)
    )


def finite_logits(tuned: Tuned, texts: Sequence[Sequence[int]]) -> bool:
    """Whether all logits of some texts are numbers."""
    return all(bool(torch.isfinite(_logits(tuned, ids)).all()) for ids in texts)


def weights_finite(base: Base) -> bool:
    """Whether all weights of a base are numbers."""
    return all(bool(torch.isfinite(weight).all()) for weight in base.model.parameters())


def _logits(tuned: Tuned, ids: Sequence[int]) -> torch.Tensor:
    speaker: Any = tuned.virtual.wrapper if tuned.virtual else tuned.model
    tokens = torch.tensor([list(ids)], device=tuned.base.device)
    with torch.inference_mode():
        logits_LV: torch.Tensor = speaker(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
        ).logits[0]
    return logits_LV.float()
