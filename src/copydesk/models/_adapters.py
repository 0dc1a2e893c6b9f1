"""Saved adapters: put on a base again, and folded into its weights."""

import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from transformers import PreTrainedModel

from copydesk.errors import InvalidInput, WrongBase
from copydesk.models._adapter_files import CONFIG, WEIGHTS, damaged, read_config, read_tensors
from copydesk.models._bases import BaseInfo
from copydesk.models._bottleneck import load_bottleneck
from copydesk.models._load import Base, load_base
from copydesk.models._quantise import Quantisation, dequantise
from copydesk.models._quiet import peft_notices
from copydesk.models._tuned import Tuned, VirtualTokens

_VIRTUAL: dict[str, Literal["prompt", "prefix"]] = {
    "PROMPT_TUNING": "prompt",
    "PREFIX_TUNING": "prefix",
}


def load_adapter(base: Base, folder: Path, *, bound_to: str) -> Tuned:
    """Put a saved adapter on a base, for use, not for training.

    Args:
        base: freshly loaded; it is changed in place.
        folder: what a method's `save` left: a PEFT folder, or a bottleneck adapter.
        bound_to: digest of the base that the adapter was trained on.

    Raises:
        WrongBase: `base` has another digest.
        Damaged: the folder is incomplete, or a tensor in it is missing, misshapen or not finite.
    """
    if bound_to != base.info.digest:
        raise WrongBase(
            f"The adapter was trained on base {bound_to[:12]}, not on {base.info.name} "
            f"({base.info.digest[:12]})",
            where=str(folder),
            todo="Use the base it was trained on, or train it again on this one.",
        )
    stated = read_config(folder)
    if "adapter_type" in stated:
        return load_bottleneck(base, folder)
    tensors = read_tensors(folder)
    try:
        with peft_notices(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # raised below
            wrapper: Any = PeftModel.from_pretrained(base.model, str(folder), local_files_only=True)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        what = str(error).strip().splitlines()
        raise damaged(f"PEFT cannot load the adapter: {' '.join(what[:2])}", folder) from error
    kind = _VIRTUAL.get(stated.get("peft_type", ""))
    _check_complete(wrapper, tensors, folder)
    wrapper.eval()
    return Tuned(
        method=kind or ("dora" if stated.get("use_dora") else "lora"),
        base=base,
        model=base.model,
        parameters={},
        peft=wrapper,
        virtual=VirtualTokens(kind=kind, wrapper=wrapper) if kind else None,
    )


def merge(tuned: Tuned) -> PreTrainedModel:
    """Fold an adapter into its base's weights; what was given is spent afterwards.

    Raises:
        InvalidInput: the method's adapters do not merge, or the base is held in 4 bits.
    """
    if tuned.peft is None or tuned.virtual is not None:
        raise InvalidInput(
            f"An adapter of the method {tuned.method} cannot be merged into its base",
            todo="Use it as it is, beside its base.",
        )
    if tuned.base.quantisation is not None:
        raise InvalidInput(
            "An adapter cannot be merged into weights held in 4 bits",
            todo="Merge it with merge_quantised.",
        )
    with peft_notices():
        merged: Any = tuned.peft.merge_and_unload()  # pyright: ignore[reportCallIssue]
    assert isinstance(merged, PreTrainedModel)
    return merged


def merge_quantised(
    info: BaseInfo,
    folder: Path,
    *,
    bound_to: str,
    quantisation: Quantisation,
    dtype: torch.dtype,
    into: Literal["original", "dequantised"],
    device: torch.device,
    attention: str | None = None,
) -> Base:
    """Fold an adapter that was trained on a 4-bit base into 32-bit weights.

    Args:
        info: the base.
        folder: the adapter's.
        bound_to: digest of the base that it was trained on.
        quantisation: as the base was held in training.
        dtype: that the base was trained in.
        into: `original`, the base's weights as they are on disk; or `dequantised`, the weights that
            the 4 bits stood for. The adapter was trained beside the latter, so that merge is the
            trained model but for rounding; the former also undoes the quantisation, which the
            adapter may have learned to make up for.
        device: where to merge.
        attention: as for `load_base`; `models.ATTENTION` to score the result.

    Returns:
        The merged model in float32, as a base whose `info` is still the unmerged one's.

    Raises:
        WrongBase, Damaged: as `load_adapter`.
    """
    if into == "original":
        base = load_base(info, device=device, dtype=torch.float32, attention=attention)
    else:
        base = load_base(
            info, device=device, dtype=dtype, attention=attention, quantisation=quantisation
        )
        base.model = dequantise(base.model)
        base.quantisation = None
        base.dtype = torch.float32
    base.model = merge(load_adapter(base, folder, bound_to=bound_to))
    return base


def _check_complete(wrapper: Any, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """PEFT warns of tensors that are missing and is silent on those it does not know."""
    expected = get_peft_model_state_dict(wrapper, save_embedding_layers=False)
    if odd := sorted(expected.keys() ^ tensors.keys()):
        raise damaged(
            f"The adapter's tensors are not those that {CONFIG} states: {odd[0]}", folder / WEIGHTS
        )
