"""Adapters as plain tensors, for an engine that runs many beside one base.

`load_adapter` changes a model in place, through PEFT; here a folder becomes tensors that
any forward can add to the base's products:

    LoRA         y = x W' + (x A') B'                     B holds the scale
    DoRA         y = m (x W' + (x A') B') / |W + B A|     m: a length for each output
    prefix       keys and values before every text
    prompt       embeddings before every text
    bottleneck   y = z + up(f(down(z)))

Everything is checked before it is used: names against the base's modules, shapes, finiteness, and
size, because a weight that overflows in a product would not stay among its own.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key

from copydesk.errors import WrongBase
from copydesk.models._adapter_files import CONFIG, WEIGHTS, damaged, read_config, read_tensors
from copydesk.models._bottleneck import bottleneck_blocks, read_bottleneck
from copydesk.models._load import Base

_PREFIX = "base_model.model."
_LIMIT = 1e6
"""Largest absolute weight. Products of 1e5 (a large activation), 1e6 and a width of 1e6 are still
far below the 3e38 that bfloat16 and float32 end at."""
_MAX_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """A pair beside one linear layer."""

    a: torch.Tensor
    """[R, D]"""
    b: torch.Tensor
    """[O, R], times the scale."""
    magnitude: torch.Tensor | None = None
    """DoRA's lengths [O]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrow:
    """A bottleneck's tensors: down [M, D] and [M], up [D, M] and [D]."""

    down: torch.Tensor
    down_bias: torch.Tensor
    up: torch.Tensor
    up_bias: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterWeights:
    """An adapter's tensors, in the base's number format and on its device."""

    method: str
    pairs: Mapping[str, LowRank] = field(default_factory=dict[str, LowRank])
    """By the module's name in the base, such as `model.layers.0.self_attn.q_proj`."""
    prefix: torch.Tensor | None = None
    """[layers, 2, H_kv, P, K]: keys, values."""
    prompt: torch.Tensor | None = None
    """[P, D]"""
    narrow: Mapping[str, Narrow] = field(default_factory=dict[str, Narrow])
    """By the name of the block behind which it stands."""
    non_linearity: str = ""
    bytes: int

    @property
    def virtual_tokens(self) -> int:
        """Positions of the context window that the adapter itself takes."""
        if self.prefix is not None:
            return self.prefix.shape[3]
        return 0 if self.prompt is None else len(self.prompt)


def read_adapter(base: Base, folder: Path, *, bound_to: str) -> AdapterWeights:
    """Read an adapter's folder into tensors that fit the base; the base is not changed.

    Args:
        base: that it will run beside.
        folder: what a method's `save` left: a PEFT folder, or a bottleneck adapter.
        bound_to: digest of the base that the adapter was trained on.

    Raises:
        WrongBase: `base` has another digest.
        Damaged: the folder is incomplete, of a kind that cannot be read, or a tensor in it is
            unknown, missing, misshapen, not finite, or too large to be multiplied safely.
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
        found = _read_narrow(base, folder)
    else:
        tensors = read_tensors(folder)
        _check_size(tensors, folder)
        kind = stated.get("peft_type")
        if kind == "LORA":
            found = _read_low_rank(base, stated, tensors, folder)
        elif kind == "PREFIX_TUNING":
            found = _read_prefix(base, stated, tensors, folder)
        elif kind == "PROMPT_TUNING":
            found = _read_prompt(base, stated, tensors, folder)
        else:
            raise damaged(f"Adapters of the kind {json.dumps(kind)} are not known", folder / CONFIG)
    return found


def _check_size(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    if sum(tensor.nbytes for tensor in tensors.values()) > _MAX_BYTES:
        raise damaged("The adapter has more than 4 GiB of tensors", folder / WEIGHTS)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise damaged(f"The adapter's tensor {name} is {tensor.dtype}", folder / WEIGHTS)
        if tensor.numel() and float(tensor.abs().max()) > _LIMIT:
            raise damaged(
                f"The adapter's tensor {name} has a number above {_LIMIT:g}", folder / WEIGHTS
            )


def _read_low_rank(
    base: Base, stated: Mapping[str, Any], tensors: dict[str, torch.Tensor], folder: Path
) -> AdapterWeights:
    if stated.get("bias", "none") != "none" or stated.get("modules_to_save"):
        raise damaged("The adapter changes biases or whole modules, not pairs alone", folder)
    modules: dict[str, Any] = dict(base.model.named_modules())
    pairs: dict[str, LowRank] = {}
    left = dict(tensors)
    for key in tensors:
        if not key.endswith(".lora_A.weight"):
            continue
        path = key.removesuffix(".lora_A.weight")
        name = path.removeprefix(_PREFIX)
        a = left.pop(key)
        b = left.pop(f"{path}.lora_B.weight", None)
        magnitude = left.pop(f"{path}.lora_magnitude_vector", None)
        shape = _linear_shape(modules.get(name))
        if shape is None or b is None:
            raise damaged(f"The base has no linear layer for {key}", folder / WEIGHTS)
        rank = len(a)
        if a.shape != (rank, shape[1]) or b.shape != (shape[0], rank) or rank < 1:
            raise damaged(f"The adapter's pair {name} does not fit its base", folder / WEIGHTS)
        if (magnitude is None) == bool(stated.get("use_dora")) or (
            magnitude is not None and magnitude.numel() != shape[0]
        ):
            raise damaged(f"The adapter's lengths of {name} do not fit", folder / WEIGHTS)
        pairs[name] = LowRank(
            a=_fit(base, a),
            b=_fit(base, b.float() * _scale(stated, name, rank, folder)),
            magnitude=None if magnitude is None else magnitude.flatten().float().to(base.device),
        )
    if left or not pairs:
        odd = next(iter(left), "none at all")
        raise damaged(f"The adapter's tensors are not those of LoRA: {odd}", folder / WEIGHTS)
    return AdapterWeights(
        method="dora" if stated.get("use_dora") else "lora",
        pairs=pairs,
        bytes=sum(pair.a.nbytes + pair.b.nbytes for pair in pairs.values()),
    )


def _scale(stated: Mapping[str, Any], name: str, rank: int, folder: Path) -> float:
    """lora_alpha / r, or / sqrt(r) (rsLoRA, Kalajdzievski 2023), with the layer's own patterns."""
    ranks: dict[str, Any] = stated.get("rank_pattern") or {}
    alphas: dict[str, Any] = stated.get("alpha_pattern") or {}
    try:
        r = ranks.get(get_pattern_key(list(ranks), name), stated["r"])
        alpha = float(alphas.get(get_pattern_key(list(alphas), name), stated["lora_alpha"]))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(f"The adapter's scale is not stated: {error}", folder / CONFIG) from error
    if r != rank:
        raise damaged(f"{name} has rank {rank}, not {r} as is stated", folder / CONFIG)
    scale = alpha / math.sqrt(rank) if stated.get("use_rslora") else alpha / rank
    if not abs(scale) < _LIMIT:
        raise damaged(f"The adapter's scale {scale:g} is too large", folder / CONFIG)
    return scale


def _linear_shape(module: Any) -> tuple[int, int] | None:
    """(outputs, inputs) of a linear layer, None of anything else."""
    if module is None:
        return None
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return int(module.out_features), int(module.in_features)
    if hasattr(module, "nf") and hasattr(module, "nx"):  # GPT-2's transposed linear layer
        return int(module.nf), int(module.nx)
    return None


def _read_prefix(
    base: Base, stated: Mapping[str, Any], tensors: dict[str, torch.Tensor], folder: Path
) -> AdapterWeights:
    config: Any = base.model.config.get_text_config()
    layers = int(config.num_hidden_layers)
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    flat = _only(tensors, folder)
    count = stated.get("num_virtual_tokens")
    width = int(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    if flat.shape != (count, layers * 2 * heads * width):
        raise damaged("The prefix does not fit its base", folder / WEIGHTS)
    states = flat.view(flat.shape[0], layers, 2, heads, width).permute(1, 2, 3, 0, 4)
    prefix = _fit(base, states)
    return AdapterWeights(method="prefix", prefix=prefix, bytes=prefix.nbytes)


def _read_prompt(
    base: Base, stated: Mapping[str, Any], tensors: dict[str, torch.Tensor], folder: Path
) -> AdapterWeights:
    config: Any = base.model.config.get_text_config()
    flat = _only(tensors, folder)
    if flat.shape != (stated.get("num_virtual_tokens"), int(config.hidden_size)):
        raise damaged("The prompt does not fit its base", folder / WEIGHTS)
    prompt = _fit(base, flat)
    return AdapterWeights(method="prompt", prompt=prompt, bytes=prompt.nbytes)


def _only(tensors: dict[str, torch.Tensor], folder: Path) -> torch.Tensor:
    if list(tensors) != ["prompt_embeddings"] or tensors["prompt_embeddings"].dim() != 2:
        odd = ", ".join(sorted(tensors)[:2]) or "none"
        raise damaged(f"The adapter's tensors are not those it states: {odd}", folder / WEIGHTS)
    return tensors["prompt_embeddings"]


def _read_narrow(base: Base, folder: Path) -> AdapterWeights:
    config, tensors = read_bottleneck(base, folder)
    _check_size(tensors, folder)
    modules = {id(module): name for name, module in base.model.named_modules()}
    narrow: dict[str, Narrow] = {}
    for label, block in bottleneck_blocks(base, config):
        part = {
            key: _fit(base, tensors[f"{label}.bottleneck.{key}"])
            for key in ("down.weight", "down.bias", "up.weight", "up.bias")
        }
        narrow[modules[id(block)]] = Narrow(
            down=part["down.weight"],
            down_bias=part["down.bias"],
            up=part["up.weight"],
            up_bias=part["up.bias"],
        )
    return AdapterWeights(
        method="bottleneck",
        narrow=narrow,
        non_linearity=config.non_linearity,
        bytes=sum(tensor.nbytes for tensor in tensors.values()),
    )


def _fit(base: Base, tensor: torch.Tensor) -> torch.Tensor:
    """In the base's number format, on its device, out of the mapped file."""
    return tensor.to(base.device, base.dtype, copy=True).contiguous()
