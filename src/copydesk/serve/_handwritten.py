"""A decoder's forward for the Llama, Mistral, Qwen and Gemma families, for many slots at once.

A step has one row for each slot up to the last that is in use, and behind them the tokens of
prompts. All rows go through one product with each group of weights; attention is one batched
product for the slots' rows, and one for each prompt. Rows of slots that have nothing to say are run
with the others, as a product reads the weights once whatever its rows; they write to a position
that is nobody's, and nothing of theirs reaches another row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch.nn import functional

from copydesk.errors import InvalidInput
from copydesk.models import AdapterWeights, Base
from copydesk.serve._architecture import GROUPS, Architecture, Layer, Norm
from copydesk.serve._attention import KernelAttention, Turn, attend, plan_turn
from copydesk.serve._compiled import CompiledPairs
from copydesk.serve._formulas import NON_LINEARITIES, length_factors, square_rows
from copydesk.serve._fused import (
    FusedAdapter,
    FusedPair,
    Linears,
    Place,
    fuse_pairs,
    number_of,
)
from copydesk.serve._kernels import Kernels
from copydesk.serve._merged import merge_adapter
from copydesk.serve._rows import Rows
from copydesk.serve._runner import KeyValues, Prepared, Stretch
from copydesk.serve._slots import Slots
from copydesk.serve._stacks import StackedPairs, Stacks


@dataclass(frozen=True, slots=True)
class Way:
    """What the rows of one forward are multiplied with."""

    linears: Linears
    routes: list[Rows]


class HandwrittenRunner:
    """Runs an architecture that was read from a base."""

    takes_parts = True

    def __init__(
        self,
        base: Base,
        shape: Architecture,
        *,
        slots: int,
        length: int,
        kernels: Kernels | None = None,
    ) -> None:
        """Take a base and its shape, how many texts of what length, and compiled kernels.

        Kernels are for bfloat16 on a CPU; without them torch does the same.
        """
        self._shape = shape
        self._linears: Linears = [layer.linears for layer in shape.layers]
        self._mergeable = not shape.quantised
        self._kernels = kernels
        self._attention = None if kernels is None else KernelAttention(kernels, shape)
        self._gate_kind = None if kernels is None else kernels.find_activation(shape.activation)
        self._slots = Slots(
            layers=len(shape.layers),
            slots=slots,
            heads=shape.kv_heads,
            width=shape.width,
            length=length,
            dtype=base.dtype,
            device=base.device,
        )
        self.slots = slots
        self.length = length
        self._adapters: list[FusedAdapter | None] = [None] * slots
        self._open = [False] * slots
        self._used = [0] * slots
        """Positions of each slot that hold something."""
        self._stacks = Stacks(2 * slots)
        self._rows: tuple[tuple[int, ...], Rows] | None = None
        self._squares: dict[Place, torch.Tensor] = {}

    @property
    def bytes(self) -> int:
        """Keys and values of all slots, full."""
        return self._slots.bytes

    @property
    def stacks_bytes(self) -> int:
        """What the stacks of adapters take."""
        return self._stacks.bytes

    @torch.inference_mode()
    def prepare(self, weights: AdapterWeights) -> Prepared:
        """Lay an adapter's pairs beside the groups of layers that are one product."""
        pairs: dict[Place, FusedPair] = {}
        known: set[str] = set()
        for number, layer in enumerate(self._shape.layers):
            for group, parts in GROUPS.items():
                names = [f"{layer.name}.{part}" for part in parts]
                known.update(names)
                if any(name in weights.pairs for name in names):
                    pairs[number, group] = self._fuse(weights, number, layer, group, names)
        narrow = {
            (number, block): weights.narrow[f"{layer.name}.{module}"]
            for number, layer in enumerate(self._shape.layers)
            for block, module in (("attention", "self_attn"), ("mlp", "mlp"))
            if f"{layer.name}.{module}" in weights.narrow
        }
        odd = sorted(weights.pairs.keys() - known)
        if odd or len(narrow) != len(weights.narrow):
            raise InvalidInput(
                f"The engine cannot run an adapter beside {odd[0] if odd else 'this block'}",
                todo="Start it with handwritten=False, or train the client on the usual layers.",
            )
        fused = FusedAdapter(
            layers=len(self._shape.layers),
            pairs=pairs,
            narrow=narrow,
            non_linearity=weights.non_linearity,
            prefix=weights.prefix,
            prompt=weights.prompt,
        )
        return Prepared(
            virtual_tokens=weights.virtual_tokens,
            prompted=weights.prompt is not None,
            bytes=fused.bytes,
            own=fused,
        )

    @torch.inference_mode()
    def merge(self, adapter: Prepared) -> Prepared | None:
        """A copy of the layers with the adapter merged in; see `_merged.py`."""
        fused: FusedAdapter = adapter.own
        if not self._mergeable or not fused.pairs:
            return None
        merged = merge_adapter(self._shape, fused)
        return replace(adapter, own=merged, bytes=merged.bytes, merged=True)

    @torch.inference_mode()
    def open(self, slot: int, adapter: Prepared | None) -> int:
        """Take an empty slot; a prefix is laid into it."""
        assert not self._open[slot]
        fused: FusedAdapter | None = None if adapter is None else adapter.own
        self._open[slot] = True
        self._adapters[slot] = fused
        if fused is None or fused.prefix is None:
            return 0
        count = fused.prefix.shape[3]
        self._fit(slot, count)
        self._slots.copy_in(slot, 0, KeyValues(states=fused.prefix))
        return count

    @torch.inference_mode()
    def close(self, slot: int, *, clean: bool) -> None:
        """Empty a slot."""
        self._used[slot] = 0
        self._open[slot] = False
        self._adapters[slot] = None
        if not clean:
            self._slots.clear(slot)

    @torch.inference_mode()
    def copy_out(self, slot: int, start: int, end: int) -> KeyValues:
        """Keys and values of some positions."""
        return self._slots.copy_out(slot, start, end)

    @torch.inference_mode()
    def copy_in(self, slot: int, start: int, kept: KeyValues) -> None:
        """Put keys and values at `start` and on."""
        self._fit(slot, start + kept.states.shape[3])
        self._slots.copy_in(slot, start, kept)

    @torch.inference_mode()
    def run(self, stretches: Sequence[Stretch]) -> torch.Tensor:
        """Logits [rows, V]."""
        for stretch in stretches:
            self._used[stretch.slot] = stretch.start + len(stretch.ids)
        self._slots.fit(max(self._used))
        groups: dict[int, list[int]] = {}
        for at, stretch in enumerate(stretches):
            groups.setdefault(id(self._linears_of(stretch.slot)), []).append(at)
        if len(groups) == 1:
            return self._forward(stretches)
        place = dict(zip((at for at, s in enumerate(stretches) if s.wanted), count(), strict=False))
        logits: torch.Tensor | None = None
        for own in groups.values():
            found = self._forward([stretches[at] for at in own])
            if logits is None:
                logits = found.new_empty(len(place), found.shape[1])
            logits[[place[at] for at in own if at in place]] = found
        assert logits is not None
        return logits

    def _linears_of(self, slot: int) -> Linears:
        adapter = self._adapters[slot]
        return self._linears if adapter is None or adapter.linears is None else adapter.linears

    def _forward(self, stretches: Sequence[Stretch]) -> torch.Tensor:
        """Logits of stretches that are multiplied with the same weights."""
        by_kernel = self._kernels is not None
        turn = plan_turn(stretches, self._slots, self._shape, by_kernel=by_kernel)
        way = Way(self._linears_of(stretches[0].slot), self._route(turn))
        h = self._embed(turn)
        for number, layer in enumerate(self._shape.layers):
            h = self._layer(number, layer, h, turn, way)
        wanted = self._shape.norm(h[turn.wanted])
        logits = self._shape.head(wanted)
        if (cap := self._shape.logit_cap) is not None:
            logits = torch.tanh_(logits.div_(cap)).mul_(cap)
        return logits

    def _fit(self, slot: int, used: int) -> None:
        self._used[slot] = used
        self._slots.fit(max(self._used))

    def _fuse(
        self, weights: AdapterWeights, number: int, layer: Layer, group: str, names: list[str]
    ) -> FusedPair:
        widths = layer.widths[group]
        if weights.method != "dora":
            return fuse_pairs(weights, names, widths, None)
        linear = layer.linears[group]
        a = next(weights.pairs[name].a for name in names if name in weights.pairs)
        if (number, group) not in self._squares:
            self._squares[number, group] = square_rows(linear, a.shape[1], a)
        squares = self._squares[number, group].split(widths)
        factors: list[torch.Tensor] = []
        for at, name in enumerate(names):
            pair = weights.pairs.get(name)
            if pair is None:
                factors.append(torch.ones(widths[at], device=a.device))
            else:
                projected = linear(pair.a).split(widths, 1)[at]
                factors.append(length_factors(pair, projected, squares[at]))
        return fuse_pairs(weights, names, widths, torch.cat(factors))

    def _route(self, turn: Turn) -> list[Rows]:
        """Which rows run through which adapters.

        By kernels all in one; else the slots' together, and each prompt's by itself.
        """
        # Rows without a token run plain: their numbers must stay finite.
        adapters = [
            self._beside(slot) if slot in turn.speaking else None for slot in range(turn.rows)
        ]
        prompts = [(p.start, [self._beside(p.slot)] * (p.end - p.start)) for p in turn.prompts]
        if self._kernels is not None:
            adapters += [adapter for _, rows in prompts for adapter in rows]
            prompts = []
        routes: list[Rows] = []
        if any(adapters):
            key = tuple(id(adapter) for adapter in adapters)
            if self._rows is None or self._rows[0] != key:
                self._rows = key, Rows(0, adapters, self._pairs(adapters))
            routes.append(self._rows[1])
        routes += [Rows(start, rows, self._pairs(rows)) for start, rows in prompts if any(rows)]
        return routes

    def _beside(self, slot: int) -> FusedAdapter | None:
        adapter = self._adapters[slot]
        return adapter if adapter is not None and adapter.beside else None

    def _pairs(self, adapters: Sequence[FusedAdapter | None]) -> CompiledPairs | StackedPairs:
        if self._kernels is not None:
            return CompiledPairs(adapters, self._kernels)
        return StackedPairs(adapters, self._stacks.find(adapters))

    def _embed(self, turn: Turn) -> torch.Tensor:
        shape = self._shape
        h = functional.embedding(turn.ids, shape.embedding)
        if shape.embedding_scale != 1:
            h = h * torch.tensor(shape.embedding_scale, dtype=torch.float32).to(h.dtype)
        for row, slot, virtual in turn.virtual:
            adapter = self._adapters[slot]
            assert adapter is not None and adapter.prompt is not None
            h[row] = adapter.prompt[virtual]
        return h

    def _layer(
        self, number: int, layer: Layer, h: torch.Tensor, turn: Turn, way: Way
    ) -> torch.Tensor:
        x = self._norm(layer.before_attention, h)
        qkv = self._product(number, layer, "qkv", x, None, way)
        mixed = attend(number, layer, qkv, turn, self._slots, self._shape, self._attention)
        h = self._block(number, layer, "o", mixed, h, way)
        inner = self._gated(number, layer, self._norm(layer.before_mlp, h), way)
        return self._block(number, layer, "down", inner, h, way)

    def _norm(self, norm: Norm, x: torch.Tensor) -> torch.Tensor:
        return (
            norm(x) if self._kernels is None else self._kernels.norm(x, norm.weight, norm.epsilon)
        )

    def _gated(self, number: int, layer: Layer, x: torch.Tensor, way: Way) -> torch.Tensor:
        """activation(gate) * up."""
        kernels, kind = self._kernels, self._gate_kind
        scaled = any(rows.has_factors for rows in way.routes)
        if kernels is None or kind is None or scaled:
            gate = self._product(number, layer, "gate", x, None, way)
            up = self._product(number, layer, "up", x, None, way)
            return self._shape.activation(gate).mul_(up)
        bare = Way(way.linears, [])
        gate = self._product(number, layer, "gate", x, None, bare)
        up = self._product(number, layer, "up", x, None, bare)
        pairs = way.routes[0].pairs if way.routes else None
        owners = pairs.pointer if isinstance(pairs, CompiledPairs) else None
        places = number_of((number, "gate")), number_of((number, "up"))
        return kernels.gated(owners, places, x, gate, up, kind)

    def _block(
        self,
        number: int,
        layer: Layer,
        group: str,
        x: torch.Tensor,
        h: torch.Tensor,
        way: Way,
    ) -> torch.Tensor:
        """The end of a block: its product, what stands behind it, and the sum with h."""
        block = "attention" if group == "o" else "mlp"
        after = layer.after_attention if group == "o" else layer.after_mlp
        adapted = any((number, block) in a.narrow for r in way.routes for a, _ in r.narrow_groups)
        if after is None and not adapted:
            return self._product(number, layer, group, x, h, way)
        z = self._product(number, layer, group, x, None, way)
        if adapted:
            self._behind((number, block), z, way.routes)
        return h + (z if after is None else after(z))

    def _product(
        self,
        number: int,
        layer: Layer,
        group: str,
        x: torch.Tensor,
        to: torch.Tensor | None,
        way: Way,
    ) -> torch.Tensor:
        """x W' with adapters, bias and, where there is one, the sum with `to`."""
        linear, bias = way.linears[number][group], layer.biases.get(group)
        place = (number, group)
        if any(rows.has_factors for rows in way.routes):
            y = linear(x)  # lengths scale the product alone, without bias and sum
            for rows in way.routes:
                rows.add(place, x, y)
                rows.scale(place, y)
            y = y if bias is None else y.add_(bias)
            return y if to is None else y.add_(to)
        y = linear(x) if to is None else linear.add(x, to)
        if bias is not None:
            y.add_(bias)
        for rows in way.routes:
            rows.add(place, x, y)
        return y

    def _behind(self, place: Place, z: torch.Tensor, routes: list[Rows]) -> None:
        for rows in routes:
            for adapter, own in rows.narrow_groups:
                narrow = adapter.narrow.get(place)
                if narrow is None:
                    continue
                low = functional.linear(z[own], narrow.down, narrow.down_bias)
                low = NON_LINEARITIES[adapter.non_linearity](low)
                z[own] += functional.linear(low, narrow.up, narrow.up_bias)
