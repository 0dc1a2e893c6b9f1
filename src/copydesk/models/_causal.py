"""Causal attention of packed examples on a CPU, a block of positions at a time.

The arithmetic is that of `scaled_dot_product_attention`: products of K = 64 or so, a softmax in
float32, nothing of T x T kept for the backward pass, which computes each block's weights again.
What differs is who multiplies. PyTorch's fused kernel for CPUs calls the matrix library once for
every head and small tile; here one batched product serves all query heads that share a key head.
The sums q k' and dy v' stay in float32 also where the model runs in bfloat16.

In bfloat16 `_attention.cpp` does the whole, where it could be built, in a third of the time.

Letters: T positions, H query heads, G key heads, R = H / G, X = T x R query rows of a key head,
B positions of a block, S positions that a block sees, K head size.
"""

from collections.abc import Generator, Sequence
from itertools import accumulate
from typing import Any

import torch

from copydesk.models._kernels import attend, attend_backward, can_attend

_BLOCK = 64
"""Positions at once. Larger blocks compute more scores that the mask then discards."""


def causal_attention(
    query_HTK: torch.Tensor,
    key_GTK: torch.Tensor,
    value_GTK: torch.Tensor,
    lengths: Sequence[int],
    scale: float,
    parents: Sequence[int] | None = None,
) -> torch.Tensor:
    """Attend every segment of the packed rows to itself, causally, and to the one before it.

    Args:
        query_HTK: of any strides; H is a multiple of G.
        key_GTK: of any strides.
        value_GTK: as the keys; its head size may differ.
        lengths: of the segments, in order; they add up to T.
        scale: of the scores.
        parents: for each segment, the number of the one whose rows it sees before its own, or -1;
            such a one has no parent, and stands right before all that are behind it. None for none.

    Returns:
        [T, H, K], contiguous.
    """
    parents = (-1,) * len(lengths) if parents is None else tuple(parents)
    return _Causal.apply(  # pyright: ignore[reportReturnType]
        query_HTK, key_GTK, value_GTK, tuple(lengths), parents, scale
    )


class _Causal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_HTK: torch.Tensor,
        key_GTK: torch.Tensor,
        value_GTK: torch.Tensor,
        lengths: tuple[int, ...],
        parents: tuple[int, ...],
        scale: float,
    ) -> torch.Tensor:
        ctx.lengths, ctx.parents, ctx.scale = lengths, parents, scale
        inputs = (query_HTK, key_GTK, value_GTK)
        ctx.compiled = can_attend(*inputs)
        if ctx.compiled:
            out_THK, sums_HT = attend(*inputs, lengths, parents, scale)
            ctx.save_for_backward(*inputs, out_THK, sums_HT)
            return out_THK
        heads, tokens = query_HTK.shape[:2]
        out_THK = query_HTK.new_empty(tokens, heads, value_GTK.shape[2])
        for own, before in _places(lengths, parents):
            key_GSK, value_GSK = (_behind(all_GTK, before, own) for all_GTK in inputs[1:])
            out_THK[own] = _ungrouped(
                _attended(query_HTK[:, own], key_GSK, value_GSK, scale), heads
            )
        ctx.save_for_backward(*inputs)
        return out_THK

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query_HTK, key_GTK, value_GTK, *_ = ctx.saved_tensors
        if ctx.compiled:
            grads = attend_backward(
                *ctx.saved_tensors, grad_outputs[0], ctx.lengths, ctx.parents, ctx.scale
            )
            return *grads, None, None, None
        gout_HTK = grad_outputs[0].transpose(0, 1)
        gquery_HTK = torch.empty_like(query_HTK)
        gkey_GTK, gvalue_GTK = (
            torch.zeros_like(tensor, dtype=torch.float32) for tensor in (key_GTK, value_GTK)
        )
        for own, before in _places(ctx.lengths, ctx.parents):
            key_GSK, value_GSK = (_behind(all_GTK, before, own) for all_GTK in (key_GTK, value_GTK))
            gquery_GXK, *gkey_and_gvalue = _example_gradients(
                query_HTK[:, own], key_GSK, value_GSK, gout_HTK[:, own], ctx.scale
            )
            gquery_HTK[:, own] = _ungrouped(gquery_GXK, len(query_HTK)).transpose(0, 1)
            start = before.stop - before.start
            for all_GTK, found_GSK in zip((gkey_GTK, gvalue_GTK), gkey_and_gvalue, strict=True):
                all_GTK[:, before] += found_GSK[:, :start]
                all_GTK[:, own] += found_GSK[:, start:]
        gkey_GTK, gvalue_GTK = gkey_GTK.to(key_GTK.dtype), gvalue_GTK.to(value_GTK.dtype)
        return gquery_HTK, gkey_GTK, gvalue_GTK, None, None, None


def _places(lengths: Sequence[int], parents: Sequence[int]) -> Generator[tuple[slice, slice]]:
    """Of each segment its own rows, and those that it sees before them."""
    starts = [0, *accumulate(lengths)]
    for number, parent in enumerate(parents):
        before = slice(starts[parent], starts[parent + 1]) if parent >= 0 else slice(0, 0)
        yield slice(starts[number], starts[number + 1]), before


def _behind(all_GTK: torch.Tensor, before: slice, own: slice) -> torch.Tensor:
    """The rows [G, S, K] that a segment sees."""
    if before.start == before.stop:
        return all_GTK[:, own]
    return torch.cat([all_GTK[:, before], all_GTK[:, own]], 1)


def _attended(
    query_HTK: torch.Tensor, key_GTK: torch.Tensor, value_GTK: torch.Tensor, scale: float
) -> torch.Tensor:
    """Outputs [G, X, K] of one segment; its positions are the last of the keys'."""
    length, repeats = query_HTK.shape[1], len(query_HTK) // len(key_GTK)
    before = key_GTK.shape[1] - length
    query_GXK = _grouped(query_HTK, len(key_GTK)).float() * scale
    key_GKT = key_GTK.float().transpose(1, 2)
    out_GXK = value_GTK.new_empty(*query_GXK.shape[:2], value_GTK.shape[2])
    for first in range(0, length, _BLOCK):
        last = min(first + _BLOCK, length)
        rows = slice(first * repeats, last * repeats)
        seen = before + last
        weights_GXS = _weights(query_GXK[:, rows], key_GKT[..., :seen], last - first)
        out_GXK[:, rows] = weights_GXS.to(value_GTK.dtype) @ value_GTK[:, :seen]
    return out_GXK


def _example_gradients(
    query_HTK: torch.Tensor,
    key_GTK: torch.Tensor,
    value_GTK: torch.Tensor,
    gout_HTK: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of one segment's queries [G, X, K], keys and values; the latter in float32."""
    groups, length = len(key_GTK), query_HTK.shape[1]
    before = key_GTK.shape[1] - length
    repeats = len(query_HTK) // groups
    query_GXK, gout_GXK = _grouped(query_HTK, groups), _grouped(gout_HTK, groups)
    scaled_GXK, gout_GXK32 = query_GXK.float() * scale, gout_GXK.float()
    key_GKT, value_GKT = key_GTK.float().transpose(1, 2), value_GTK.float().transpose(1, 2)
    gquery_GXK = torch.empty_like(query_GXK)
    softmax_gradient = torch.ops.aten._softmax_backward_data
    gkey_GTK = torch.zeros_like(key_GTK, dtype=torch.float32)
    gvalue_GTK = torch.zeros_like(value_GTK, dtype=torch.float32)
    for first in range(0, length, _BLOCK):
        last = min(first + _BLOCK, length)
        rows = slice(first * repeats, last * repeats)
        seen = before + last
        weights_GXS = _weights(scaled_GXK[:, rows], key_GKT[..., :seen], last - first)
        gweights_GXS = gout_GXK32[:, rows] @ value_GKT[..., :seen]
        gscores_GXS = softmax_gradient(gweights_GXS, weights_GXS, -1, torch.float32)
        gscores_GXS = gscores_GXS.mul_(scale).to(query_GXK.dtype)
        gvalue_GTK[:, :seen] += weights_GXS.to(gout_GXK.dtype).transpose(1, 2) @ gout_GXK[:, rows]
        gquery_GXK[:, rows] = gscores_GXS @ key_GTK[:, :seen]
        gkey_GTK[:, :seen] += gscores_GXS.transpose(1, 2) @ query_GXK[:, rows]
    return gquery_GXK, gkey_GTK, gvalue_GTK


def _grouped(tensor_HTK: torch.Tensor, groups: int) -> torch.Tensor:
    """[G, X, K]: position by position, the query heads of a key head side by side."""
    return tensor_HTK.unflatten(0, (groups, -1)).transpose(1, 2).flatten(1, 2)


def _ungrouped(tensor_GXK: torch.Tensor, heads: int) -> torch.Tensor:
    """[T, H, K], as a view."""
    repeats = heads // len(tensor_GXK)
    return tensor_GXK.unflatten(1, (-1, repeats)).transpose(0, 1).flatten(1, 2)


def _weights(query_GXK: torch.Tensor, key_GKS: torch.Tensor, block: int) -> torch.Tensor:
    """Softmax [G, X, S] of a block's scaled scores; the last B of its S positions are its own."""
    scores_GXS = query_GXK @ key_GKS
    own_GBRB = scores_GXS.unflatten(1, (block, -1))[..., -block:]
    own_GBRB += torch.full((block, block), float("-inf"), device=own_GBRB.device).triu(1)[:, None]
    return torch.softmax(scores_GXS, -1)
