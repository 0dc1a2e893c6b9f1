"""A step's attention: one batched product for the slots' rows, one for each prompt's tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from copydesk.serve._architecture import Architecture, Layer
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
    places: torch.Tensor
    """[rows] where each slot's row writes."""
    numbers: torch.Tensor
    """[rows] 0 and on."""
    masks: dict[int | None, torch.Tensor]
    """By window: [rows x H_kv, T, H / H_kv]."""
    angles: dict[str, tuple[torch.Tensor, torch.Tensor]]
    """Cosine and sine [R, H + H_kv, K]; the queries' hold the scale of the scores."""


def plan_turn(stretches: Sequence[Stretch], slots: Slots, shape: Architecture) -> Turn:
    """Lay out a step: rows, positions, masks and angles, once for all layers."""
    device = shape.embedding.device
    single = [stretch for stretch in stretches if len(stretch.ids) == 1 and stretch.ids[0] >= 0]
    longer = [stretch for stretch in stretches if len(stretch.ids) > 1 or stretch.ids[0] < 0]
    rows = max((stretch.slot + 1 for stretch in single), default=0)
    ids = [0] * rows
    positions = [slots.seen - 1] * rows
    for stretch in single:
        ids[stretch.slot] = stretch.ids[0]
        positions[stretch.slot] = stretch.start
    windows = {layer.window for layer in shape.layers}
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
        for w in windows
    }
    return Turn(
        ids=torch.tensor(ids, device=device),
        rows=rows,
        prompts=prompts,
        wanted=torch.tensor(wanted, device=device, dtype=torch.long),
        speaking={stretch.slot for stretch in single},
        virtual=virtual,
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
    keys, values = slots.keys[number], slots.values[number]
    if turned.data_ptr() != qkv.data_ptr():  # after norms the keys lie elsewhere
        qkv = torch.cat([turned, qkv[:, heads + kv_heads :]], dim=1)
    states = qkv[:, heads:].view(len(qkv), 2, kv_heads, width)
    parts: list[torch.Tensor] = []
    rows = turn.rows
    if rows:
        slots.layers[number][:, turn.numbers, :, turn.places] = states[:rows]
        count = rows * kv_heads
        query = qkv[:rows, :heads].reshape(count, -1, width)
        mask = turn.masks[layer.window]
        scores = _scores(keys[:count], query.transpose(1, 2), mask, shape).transpose(1, 2)
        mixed = torch.bmm(scores.softmax(-1), values[:count])
        parts.append(mixed.view(rows, -1))
    for prompt in turn.prompts:
        start, end, upto = prompt.start, prompt.end, prompt.position + prompt.end - prompt.start
        own = slots.layers[number][:, prompt.slot, :, prompt.position : upto]
        own.copy_(states[start:end].permute(1, 2, 0, 3))
        first = prompt.slot * kv_heads
        query = qkv[start:end, :heads].view(end - start, kv_heads, -1, width)
        query = query.permute(1, 2, 0, 3).reshape(kv_heads, -1, width)
        mask = prompt.masks[layer.window]
        seen = keys[first : first + kv_heads, :upto].transpose(1, 2)
        scores = _scores(query, seen, mask, shape)
        mixed = torch.bmm(scores.softmax(-1), values[first : first + kv_heads, :upto])
        mixed = mixed.view(heads, end - start, width).transpose(0, 1)
        parts.append(mixed.reshape(end - start, -1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


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
