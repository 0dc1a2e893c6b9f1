"""A step's attention: one kernel or batched product for the slots' rows, one for each prompt."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from copydesk.serve._architecture import Architecture, Layer
from copydesk.serve._kernels import Attention, Kernels
from copydesk.serve._runner import Stretch
from copydesk.serve._slots import Slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Tokens of one slot's prompt, as rows of a step."""

    slot: int
    start: int
    """First row."""
    end: int
    position: int
    """Of its first token."""
    masks: dict[int | None, torch.Tensor]
    """By window: [H_kv, H / H_kv x n, T] of 0 and -inf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a step runs, laid out."""

    ids: torch.Tensor
    """[R] token ids, 0 for virtual tokens and rows without anything to say."""
    rows: int
    """The first rows are those of slots 0 and on, one token each."""
    prompts: list[Prompt]
    wanted: torch.Tensor
    """Rows whose logits are asked for."""
    speaking: set[int]
    """Slots whose row has a token."""
    virtual: list[tuple[int, int, int]]
    """Row, slot and number of each virtual token."""
    positions: torch.Tensor
    """[rows] of each slot's token, -1 where there is none."""
    places: torch.Tensor
    """[rows] where each slot's row writes."""
    numbers: torch.Tensor
    """[rows] 0 and on."""
    masks: dict[int | None, torch.Tensor]
    """By window: [rows x H_kv, T, H / H_kv]; none where a kernel runs the rows."""
    angles: dict[str, tuple[torch.Tensor, torch.Tensor]]
    """Cosine and sine [R, H + H_kv, K]; the queries' hold the scale of the scores. Where a kernel
    runs the slots' rows, of the others alone."""


class KernelAttention:
    """Attention of the slots' rows by the compiled kernels."""

    def __init__(self, kernels: Kernels, shape: Architecture) -> None:
        """Take the kernels and the base's shape."""
        self._kernels = kernels
        self._layers = [_described(layer, shape) for layer in shape.layers]
        self._seen = 0

    def __call__(self, number: int, qkv: torch.Tensor, turn: Turn, slots: Slots) -> torch.Tensor:
        """Mixed values [rows, H K] of a layer; keys and values are kept."""
        block = slots.layers[number]
        if slots.seen != self._seen:
            self._seen = slots.seen
            for how in self._layers:
                how.slot_stride, how.head_stride = block.stride(1), block.stride(2)
        return self._kernels.attend(
            ctypes.addressof(self._layers[number]), qkv, turn.positions, block
        )


def _described(layer: Layer, shape: Architecture) -> Attention:
    cos, sin = shape.rope[layer.rope]
    query, key = layer.query_norm, layer.key_norm
    return Attention(
        heads=shape.heads,
        groups=shape.kv_heads,
        width=shape.width,
        window=layer.window or 0,
        scale=shape.scale,
        cap=shape.score_cap or 0.0,
        epsilon=0.0 if query is None else query.epsilon,
        cos=cos.data_ptr(),
        sin=sin.data_ptr(),
        query_norm=None if query is None else query.weight.data_ptr(),
        key_norm=None if key is None else key.weight.data_ptr(),
    )


def plan_turn(
    stretches: Sequence[Stretch], slots: Slots, shape: Architecture, *, by_kernel: bool
) -> Turn:
    """Lay out a step: rows, positions, masks and angles, once for all layers."""
    device = shape.embedding.device
    single = [stretch for stretch in stretches if len(stretch.ids) == 1 and stretch.ids[0] >= 0]
    longer = [stretch for stretch in stretches if len(stretch.ids) > 1 or stretch.ids[0] < 0]
    rows = max((stretch.slot + 1 for stretch in single), default=0)
    ids = [0] * rows
    positions = [-1] * rows
    for stretch in single:
        ids[stretch.slot] = stretch.ids[0]
        positions[stretch.slot] = stretch.start
    windows = {layer.window for layer in shape.layers}
    tokens = torch.tensor(positions, device=device, dtype=torch.long)
    places = tokens.where(tokens >= 0, slots.seen - 1)
    prompts: list[Prompt] = []
    virtual: list[tuple[int, int, int]] = []
    ends: dict[int, int] = {stretch.slot: stretch.slot for stretch in single}
    for stretch in longer:
        start = len(ids)
        virtual += [
            (start + at, stretch.slot, -1 - token)
            for at, token in enumerate(stretch.ids)
            if token < 0
        ]
        ids += [max(0, token) for token in stretch.ids]
        positions += range(stretch.start, stretch.start + len(stretch.ids))
        ends[stretch.slot] = len(ids) - 1
        own = torch.arange(stretch.start, stretch.start + len(stretch.ids), device=device)
        prompts.append(
            Prompt(
                slot=stretch.slot,
                start=start,
                end=len(ids),
                position=stretch.start,
                masks={
                    w: _mask(own, stretch.start + len(stretch.ids), w, shape)
                    .repeat(shape.heads // shape.kv_heads, 1)
                    .expand(shape.kv_heads, -1, -1)
                    for w in windows
                },
            )
        )
    wanted = [ends[stretch.slot] for stretch in stretches if stretch.wanted]
    masks = {
        w: _mask(places, slots.seen, w, shape)
        .repeat_interleave(shape.kv_heads, 0)[:, :, None]
        .expand(-1, -1, shape.heads // shape.kv_heads)
        .contiguous()
        for w in (() if by_kernel else windows)
    }
    turned = torch.tensor(positions[rows:], device=device, dtype=torch.long)
    turned = turned if by_kernel else torch.cat([places, turned])
    return Turn(
        ids=torch.tensor(ids, device=device),
        rows=rows,
        prompts=prompts,
        wanted=torch.tensor(wanted, device=device, dtype=torch.long),
        speaking={stretch.slot for stretch in single},
        virtual=virtual,
        positions=tokens,
        places=places,
        numbers=torch.arange(rows, device=device),
        masks=masks,
        angles=_angles(turned, shape) if len(turned) else {},
    )


def attend(
    number: int,
    layer: Layer,
    qkv: torch.Tensor,
    turn: Turn,
    slots: Slots,
    shape: Architecture,
    kernel: KernelAttention | None,
) -> torch.Tensor:
    """Turn queries and keys, keep keys and values, and mix the values: [R, H x K]."""
    parts: list[torch.Tensor] = []
    by_torch = qkv
    if kernel is not None:
        by_torch = qkv[turn.rows :]
        if turn.rows:
            parts.append(kernel(number, qkv, turn, slots))
    states = _turned(layer, by_torch, turn, shape) if len(by_torch) else by_torch
    if kernel is None:
        if turn.rows:
            parts.append(_attend_rows(number, layer, states[: turn.rows], turn, slots, shape))
        states = states[turn.rows :]
    for prompt in turn.prompts:
        start, end = prompt.start - turn.rows, prompt.end - turn.rows
        parts.append(_attend_prompt(number, layer, states[start:end], prompt, slots, shape))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _turned(layer: Layer, qkv: torch.Tensor, turn: Turn, shape: Architecture) -> torch.Tensor:
    """Rows [R, H + 2 H_kv, K] with queries and keys turned by their positions."""
    heads, kv_heads, width = shape.heads, shape.kv_heads, shape.width
    qkv = qkv.view(len(qkv), heads + 2 * kv_heads, width)
    turned = qkv[:, : heads + kv_heads]
    if layer.query_norm is not None and layer.key_norm is not None:
        turned = torch.cat(
            [layer.query_norm(qkv[:, :heads]), layer.key_norm(turned[:, heads:])], dim=1
        )
    cos, sin = turn.angles[layer.rope]
    half = width // 2
    changed = torch.cat([turned[..., half:], turned[..., :half]], dim=-1)
    turned.mul_(cos).addcmul_(changed, sin)
    if turned.data_ptr() == qkv.data_ptr():
        return qkv
    return torch.cat([turned, qkv[:, heads + kv_heads :]], dim=1)  # after norms it lies elsewhere


def _attend_rows(
    number: int, layer: Layer, states: torch.Tensor, turn: Turn, slots: Slots, shape: Architecture
) -> torch.Tensor:
    """One token of each of the first slots: [rows, H x K]."""
    heads, kv_heads, width = shape.heads, shape.kv_heads, shape.width
    rows = len(states)
    kept = states[:, heads:].view(rows, 2, kv_heads, width)
    slots.layers[number][:, turn.numbers, :, turn.places] = kept
    count = rows * kv_heads
    query = states[:, :heads].reshape(count, -1, width)
    mask = turn.masks[layer.window]
    keys, values = slots.keys[number], slots.values[number]
    scores = _scores(keys[:count], query.transpose(1, 2), mask, shape).transpose(1, 2)
    return torch.bmm(scores.softmax(-1), values[:count]).view(rows, heads * width)


def _attend_prompt(
    number: int,
    layer: Layer,
    states: torch.Tensor,
    prompt: Prompt,
    slots: Slots,
    shape: Architecture,
) -> torch.Tensor:
    """Consecutive tokens of one slot: [n, H x K]."""
    heads, kv_heads, width = shape.heads, shape.kv_heads, shape.width
    count = len(states)
    upto = prompt.position + count
    own = slots.layers[number][:, prompt.slot, :, prompt.position : upto]
    kept = states[:, heads:].view(count, 2, kv_heads, width)
    own.copy_(kept.permute(1, 2, 0, 3))
    first = prompt.slot * kv_heads
    query = states[:, :heads].view(count, kv_heads, -1, width)
    query = query.permute(1, 2, 0, 3).reshape(kv_heads, -1, width)
    seen = slots.keys[number][first : first + kv_heads, :upto].transpose(1, 2)
    scores = _scores(query, seen, prompt.masks[layer.window], shape)
    mixed = torch.bmm(scores.softmax(-1), slots.values[number][first : first + kv_heads, :upto])
    return mixed.view(heads, count, width).transpose(0, 1).reshape(count, -1)


def _scores(
    left: torch.Tensor, right: torch.Tensor, mask: torch.Tensor, shape: Architecture
) -> torch.Tensor:
    """The product and the mask; queries that share a head of keys are rows of one product."""
    if (cap := shape.score_cap) is None:
        return torch.baddbmm(mask, left, right)
    return torch.tanh_(torch.bmm(left, right).div_(cap)).mul_(cap).add_(mask)


def _mask(places: torch.Tensor, seen: int, window: int | None, shape: Architecture) -> torch.Tensor:
    """[n, T] 0 where a token at each of `places` looks, -inf elsewhere."""
    back = places[:, None] - torch.arange(seen, device=places.device)[None]
    hidden = back < 0
    if window is not None:
        hidden |= back >= window
    mask = torch.zeros(hidden.shape, dtype=shape.embedding.dtype, device=places.device)
    return mask.masked_fill_(hidden, -torch.inf)


def _angles(
    positions: torch.Tensor, shape: Architecture
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    scale = torch.ones(shape.heads + shape.kv_heads, 1, device=positions.device)
    scale[: shape.heads] = shape.scale
    dtype = shape.embedding.dtype
    return {
        kind: (
            (cos[positions][:, None] * scale).to(dtype),
            (sin[positions][:, None] * scale).to(dtype),
        )
        for kind, (cos, sin) in shape.rope.items()
    }
