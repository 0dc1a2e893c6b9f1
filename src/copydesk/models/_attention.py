"""Variable-length causal attention for packed examples, registered with transformers.

The examples of a packed batch must not see each other. A block-diagonal mask would cost T x T;
here each example is attended by itself, so the cost is the sum of the squared lengths. On a CPU
that is our own function, on CUDA one call of flash attention, and what neither computes (capped
scores, virtual tokens before each example, float32 on CUDA) goes example by example.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from copydesk.models._causal import causal_attention
from copydesk.models._flash import can_flash, flash_attention

ATTENTION = "copydesk_packed"
"""The name to load a model with: `attn_implementation=ATTENTION`."""
FUSED = "copydesk_packed_fused"
"""The same by PyTorch's fused kernels alone, as a GPU takes it: for what is counted, not run."""

SegmentPrefix = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""For each layer, keys and values [1, H_kv, P, K] that every example sees before itself."""


def _packed_attention(
    module: torch.nn.Module,
    query_1HTK: torch.Tensor,
    key_1HTK: torch.Tensor,
    value_1HTK: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    segment_lengths: tuple[int, ...],
    segment_parents: tuple[int, ...] | None = None,
    segment_prefix: SegmentPrefix | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    fused: bool = False,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend every example apart; returns [1, T, H, K] as transformers expects.

    `segment_parents` has, for each segment, the number of an earlier one that stands before it, or
    -1: the examples that start alike attend to one copy of their start.

    `segment_prefix` holds keys and values for each layer that stand before every example, as a
    cache of P earlier tokens would; positions of the examples' own tokens then start at P.
    """
    parents = segment_parents or (-1,) * len(segment_lengths)
    seen_lengths = [
        length + (segment_lengths[parent] if parent >= 0 else 0)
        for length, parent in zip(segment_lengths, parents, strict=True)
    ]
    if not fused and _is_plain_on_cpu(
        query_1HTK, seen_lengths, segment_prefix, sliding_window, softcap, dropout
    ):
        scale = query_1HTK.shape[-1] ** -0.5 if scaling is None else scaling
        attended_THK = causal_attention(
            query_1HTK[0], key_1HTK[0], value_1HTK[0], segment_lengths, scale, segment_parents
        )
        return attended_THK[None], None
    plain = (segment_parents, segment_prefix, softcap) == (None, None, None) and dropout == 0
    if plain and can_flash(query_1HTK[0], value_1HTK[0]):
        attended_THK = flash_attention(
            query_1HTK[0], key_1HTK[0], value_1HTK[0], segment_lengths, scaling, sliding_window
        )
        return attended_THK[None], None
    layer: Any = module
    prefix = None if segment_prefix is None else segment_prefix[layer.layer_idx]
    outputs: list[torch.Tensor] = []
    keys = key_1HTK.split(segment_lengths, dim=2)
    values = value_1HTK.split(segment_lengths, dim=2)
    queries = query_1HTK.split(segment_lengths, dim=2)
    for query, key, value, parent in zip(queries, keys, values, parents, strict=True):
        if parent >= 0:
            key = torch.cat([keys[parent], key], dim=2)
            value = torch.cat([values[parent], value], dim=2)
        if prefix is not None:
            key = torch.cat([prefix[0].to(key.dtype), key], dim=2)
            value = torch.cat([prefix[1].to(value.dtype), value], dim=2)
        length, seen = query.shape[2], key.shape[2]
        windowed = sliding_window is not None and seen > sliding_window
        if softcap is not None:
            output = _capped_attention(query, key, value, scaling, softcap, sliding_window)
        else:
            masked = windowed or seen > length
            output = functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=_mask_of(length, seen, sliding_window, query.device) if masked else None,
                dropout_p=dropout,
                is_causal=not masked,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        outputs.append(output.transpose(1, 2))
    return torch.cat(outputs, dim=1), None


def _is_plain_on_cpu(
    query_1HTK: torch.Tensor,
    lengths: Sequence[int],
    prefix: SegmentPrefix | None,
    window: int | None,
    softcap: float | None,
    dropout: float,
) -> bool:
    """Whether `causal_attention` computes just this, and on the device that it was made for.

    Meta, where a run is counted, stands for a CPU.
    """
    return (
        query_1HTK.device.type in {"cpu", "meta"}
        and query_1HTK.dtype != torch.float64  # its sums are in float32
        and prefix is None
        and softcap is None
        and dropout == 0
        and (window is None or max(lengths) <= window)
    )


def _mask_of(length: int, seen: int, window: int | None, device: torch.device) -> torch.Tensor:
    """[length, seen], true where a query may look: at itself and the `window - 1` before.

    The queries are the last `length` of the `seen` positions.
    """
    keys = torch.arange(seen, device=device)
    distance = keys[seen - length :, None] - keys[None, :]
    mask = distance >= 0
    return mask if window is None else mask & (distance < window)


def _capped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    softcap: float,
    window: int | None,
) -> torch.Tensor:
    """Attention with scores capped by tanh (Gemma 2), which the fused kernels do not offer."""
    repeats = query.shape[1] // key.shape[1]
    key = key.repeat_interleave(repeats, dim=1)
    value = value.repeat_interleave(repeats, dim=1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = softcap * torch.tanh(query @ key.transpose(-1, -2) * scale / softcap)
    mask = _mask_of(query.shape[2], key.shape[2], window, query.device)
    scores = scores.masked_fill(~mask, float("-inf"))
    weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return weights @ value


def _no_mask(*_: Any, **__: Any) -> None:
    """The mask that transformers should build: none, the attention keeps examples apart."""


def register() -> None:
    """Make the attention known to transformers; harmless when called again."""
    AttentionInterface.register(ATTENTION, _packed_attention)
    AttentionInterface.register(FUSED, partial(_packed_attention, fused=True))
    for name in (ATTENTION, FUSED):
        AttentionMaskInterface.register(name, _no_mask)
