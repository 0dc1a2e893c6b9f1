"""A decoder's forward for the Llama, Mistral, Qwen and Gemma families, for many slots at once.

A step has one row for each slot up to the last that is in use, and behind them the tokens of
prompts. All rows go through one product with each group of weights; attention is one batched
product for the slots' rows, and one for each prompt. Rows of slots that have nothing to say are run
with the others, as a product reads the weights once whatever its rows; they write to a position
that is nobody's, and nothing of theirs reaches another row.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch.nn import functional

from copydesk.errors import InvalidInput
from copydesk.models import AdapterWeights, Base
from copydesk.serve._architecture import GROUPS, Architecture, Layer
from copydesk.serve._attention import Turn, attend, plan_turn
from copydesk.serve._formulas import NON_LINEARITIES, length_factors, square_rows
from copydesk.serve._linears import packs_bfloat16
from copydesk.serve._runner import KeyValues, Prepared, Stretch
from copydesk.serve._slots import Slots
from copydesk.serve._stacks import FusedAdapter, FusedPair, Place, Rows, Stack, fuse_pairs

_STACKS = 8
"""Sets of adapters whose stacks are kept."""
_STACK_BYTES = 256 << 20
"""What they may take, but for the two that were used last."""


class HandwrittenRunner:
    """Runs an architecture that was read from a base."""

    takes_parts = True

    def __init__(self, base: Base, shape: Architecture, *, slots: int, length: int) -> None:
        self._base = base
        self._shape = shape
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
        self._packs = (
            base.device.type == "cpu" and base.dtype == torch.bfloat16 and packs_bfloat16()
        )
        self._stacks: OrderedDict[frozenset[int], Stack] = OrderedDict()
        self._singles: OrderedDict[frozenset[int], Stack] = OrderedDict()
        self._rows: tuple[tuple[int, ...], Rows] | None = None
        self._squares: dict[Place, torch.Tensor] = {}

    @property
    def bytes(self) -> int:
        """Keys and values of all slots, full."""
        return self._slots.bytes

    @property
    def stacks_bytes(self) -> int:
        """What the stacks of adapters take."""
        held = [*self._stacks.values(), *self._singles.values()]
        return sum(stack.bytes for stack in held)

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
        turn = plan_turn(stretches, self._slots, self._shape)
        routes = self._route(turn)
        h = self._embed(turn)
        for number, layer in enumerate(self._shape.layers):
            h = self._layer(number, layer, h, turn, routes)
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
        inputs = next(weights.pairs[name].a.shape[1] for name in names if name in weights.pairs)
        found = fuse_pairs(weights, names, widths, inputs)
        assert found is not None
        factors: torch.Tensor | None = None
        if weights.method == "dora":
            linear = layer.linears[group]
            if (number, group) not in self._squares:
                self._squares[number, group] = square_rows(linear, inputs, found[0])
            squares = self._squares[number, group].split(widths)
            parts: list[torch.Tensor] = []
            for at, name in enumerate(names):
                pair = weights.pairs.get(name)
                if pair is None:
                    parts.append(torch.ones(widths[at], device=found[0].device))
                else:
                    projected = linear(pair.a).split(widths, 1)[at]
                    parts.append(length_factors(pair, projected, squares[at]))
            factors = torch.cat(parts)
        return FusedPair(a=found[0], b=found[1], factors=factors)

    def _route(self, turn: Turn) -> list[Rows]:
        """Which rows run through which adapters: the slots' together, each prompt's by itself."""
        routes: list[Rows] = []
        # Rows without a token run plain: their numbers must stay finite.
        adapters = [
            adapter if slot in turn.speaking else None
            for slot, adapter in enumerate(self._adapters[: turn.rows])
        ]
        if any(adapters):
            key = tuple(id(adapter) for adapter in adapters)
            if self._rows is None or self._rows[0] != key:
                self._rows = key, Rows(0, adapters, self._stack(adapters))
            self._rows[1].settle()
            routes.append(self._rows[1])
        for prompt in turn.prompts:
            adapter = self._adapters[prompt.slot]
            if adapter is not None:
                rows = [adapter] * (prompt.end - prompt.start)
                routes.append(Rows(prompt.start, rows, self._stack([adapter])))
        return [rows for rows in routes if rows.stack.places or rows.narrow_groups]

    def _stack(self, adapters: Sequence[FusedAdapter | None]) -> Stack:
        """A stack that holds these adapters: one alone, or a set that was not much larger."""
        chosen = {id(adapter): adapter for adapter in adapters if adapter is not None}
        key = frozenset(chosen)
        kept = self._singles if len(key) == 1 else self._stacks
        # When a text ends its adapter may stay: that costs less than a new stack.
        larger = [own for own in kept if key < own and len(own) <= 2 * len(key)]
        if key not in kept and larger:
            key = min(larger, key=len)
        if key not in kept:
            # A stack holds its adapters, so that no other can get their ids while it is kept.
            kept[key] = Stack(list(chosen.values()), packs=self._packs)
        kept.move_to_end(key)
        if len(self._singles) > 2 * self.slots:
            self._singles.popitem(last=False)
        while len(self._stacks) > 2 and (
            len(self._stacks) > _STACKS or self.stacks_bytes > _STACK_BYTES
        ):
            self._stacks.popitem(last=False)
        return kept[key]

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
        self, number: int, layer: Layer, h: torch.Tensor, turn: Turn, routes: list[Rows]
    ) -> torch.Tensor:
        x = layer.before_attention(h)
        qkv = self._product(number, layer, "qkv", x, None, routes)
        mixed = attend(number, layer, qkv, turn, self._slots, self._shape)
        h = self._block(number, layer, "o", mixed, h, routes)
        x = layer.before_mlp(h)
        gate = self._product(number, layer, "gate", x, None, routes)
        up = self._product(number, layer, "up", x, None, routes)
        inner = self._shape.activation(gate).mul_(up)
        return self._block(number, layer, "down", inner, h, routes)

    def _block(
        self,
        number: int,
        layer: Layer,
        group: str,
        x: torch.Tensor,
        h: torch.Tensor,
        routes: list[Rows],
    ) -> torch.Tensor:
        """The end of a block: its product, what stands behind it, and the sum with h."""
        block = "attention" if group == "o" else "mlp"
        after = layer.after_attention if group == "o" else layer.after_mlp
        adapted = any((number, block) in a.narrow for r in routes for a, _ in r.narrow_groups)
        if after is None and not adapted:
            return self._product(number, layer, group, x, h, routes)
        z = self._product(number, layer, group, x, None, routes)
        if adapted:
            self._behind((number, block), z, routes)
        return h + (z if after is None else after(z))

    def _product(
        self,
        number: int,
        layer: Layer,
        group: str,
        x: torch.Tensor,
        to: torch.Tensor | None,
        routes: list[Rows],
    ) -> torch.Tensor:
        """x W' with adapters, bias and, where there is one, the sum with `to`."""
        linear, bias = layer.linears[group], layer.biases.get(group)
        place = (number, group)
        if any(rows.has_factors() for rows in routes):
            y = linear(x)  # lengths scale the product alone, without bias and sum
            for rows in routes:
                y = rows.scale(place, rows.add(place, x, y))
            y = y if bias is None else y.add_(bias)
            return y if to is None else y.add_(to)
        y = linear(x) if to is None else linear.add(x, to)
        if bias is not None:
            y.add_(bias)
        for rows in routes:
            y = rows.add(place, x, y)
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
