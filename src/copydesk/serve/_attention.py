"""A step's attention: one batched product for the slots' rows, one for each prompt's tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from copydesk.serve._architecture import Architecture, Layer
from copydesk.serve._runner import Stretch
from copydesk.serve._slots import Slots

_STEP = 32
"""Positions are attended in multiples, so that products keep their shapes for some steps."""


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
    """By window: [n, T] of 0 and -inf."""


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
    virtual: list[tuple[int, int, int]]
    """Row, slot and number of each virtual token."""
    seen: int
    """Positions that the slots' rows attend to."""
    places: torch.Tensor
    """[rows] where each slot's row writes."""
    numbers: torch.Tensor
    """[rows] 0 and on."""
    masks: dict[int | None, torch.Tensor]
    """By window: [rows, 1, 1, T]."""
    angles: dict[str, tuple[torch.Tensor, torch.Tensor]]
    """Cosine and sine [R, H + H_kv, K]; the queries' hold the scale of the scores."""


def plan_turn(stretches: Sequence[Stretch], slots: Slots, shape: Architecture) -> Turn:
    """Lay out a step: rows, positions, masks and angles, once for all layers."""
    device = shape.embedding.device
    single = [stretch for stretch in stretches if len(stretch.ids) == 1 and stretch.ids[0] >= 0]
    longer = [stretch for stretch in stretches if len(stretch.ids) > 1 or stretch.ids[0] < 0]
    rows = max((stretch.slot + 1 for stretch in single), default=0)
    ids = [0] * rows
    positions = [slots.length] * rows
    for stretch in single:
        ids[stretch.slot] = stretch.ids[0]
        positions[stretch.slot] = stretch.start
    windows = {layer.window for layer in shape.layers}
    seen = _rounded(max((stretch.start + 1 for stretch in single), default=0), slots.length)
    places = torch.tensor(positions, device=device, dtype=torch.long)
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
                masks={w: _mask(own, stretch.start + len(stretch.ids), w, shape) for w in windows},
            )
        )
    wanted = [ends[stretch.slot] for stretch in stretches if stretch.wanted]
    masks = {w: _mask(places, seen, w, shape)[:, None, None] for w in windows}
    return Turn(
        ids=torch.tensor(ids, device=device),
        rows=rows,
        prompts=prompts,
        wanted=torch.tensor(wanted, device=device, dtype=torch.long),
        virtual=virtual,
        seen=seen,
        places=places,
        numbers=torch.arange(rows, device=device),
        masks=masks,
        angles=_angles(torch.tensor(positions, device=device), shape),
    )


def attend(
    number: int, layer: Layer, qkv: torch.Tensor, turn: Turn, slots: Slots, shape: Architecture
) -> torch.Tensor:
    """Turn queries and keys, keep keys and values, and mix the values: [R, H x K]."""
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
    keys_RHK, values_RHK = turned[:, heads:], qkv[:, heads + kv_heads :]
    keys, values = slots.keys[number], slots.values[number]
    mixed = torch.empty(len(qkv), heads * width, dtype=qkv.dtype, device=qkv.device)
    rows = turn.rows
    if rows:
        keys[turn.numbers, :, :, turn.places] = keys_RHK[:rows]
        values[turn.numbers, :, turn.places] = values_RHK[:rows]
        query = turned[:rows, :heads].reshape(rows, kv_heads, -1, width)
        mask = turn.masks[layer.window]
        seen_keys, seen_values = keys[:rows, :, :, : turn.seen], values[:rows, :, : turn.seen]
        mixed[:rows] = _mix(query, seen_keys, seen_values, mask, shape).view(rows, -1)
    for prompt in turn.prompts:
        start, end, upto = prompt.start, prompt.end, prompt.position + prompt.end - prompt.start
        keys[prompt.slot, :, :, prompt.position : upto] = keys_RHK[start:end].permute(1, 2, 0)
        values[prompt.slot, :, prompt.position : upto] = values_RHK[start:end].transpose(0, 1)
        count = end - start
        query = turned[start:end, :heads].view(count, kv_heads, -1, width)
        query = query.permute(1, 2, 0, 3).reshape(1, kv_heads, -1, width)
        mask = prompt.masks[layer.window].repeat(heads // kv_heads, 1)
        seen_keys = keys[prompt.slot, None, :, :, :upto]
        seen_values = values[prompt.slot, None, :, :upto]
        found = _mix(query, seen_keys, seen_values, mask, shape)
        found = found.view(heads, count, width).transpose(0, 1)
        mixed[start:end] = found.reshape(count, -1)
    return mixed


def _mix(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    shape: Architecture,
) -> torch.Tensor:
    """softmax(q k + mask) v; queries that share a key's head stand as rows of one product."""
    scores = torch.matmul(query, keys)
    if (cap := shape.score_cap) is not None:
        scores = torch.tanh_(scores.div_(cap)).mul_(cap)
    return torch.matmul(scores.add_(mask).softmax(-1), values)


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


def _rounded(count: int, most: int) -> int:
    return min(most, -(-count // _STEP) * _STEP)
