"""A leaner forward and backward for LoRA on frozen linear layers, plain or held in 4 bits, for one
adapter or many at once.

    y = x W' + b + s (x A') B'

PEFT's own forward makes two extra tensors as large as the output (the scaled product and the sum)
and keeps what autograd needs for each step. Here the low-rank product is added in place, and only
x, and x A' of width R, are kept for the backward pass. Beyond that:

- Layers that read the same x (q, k, v; gate, up) are one function: one x A' for all their A, one
  gradient of x, summed in place.
- A gated MLP is one function. It keeps the gate's and the up projection's outputs and computes
  their product again, instead of keeping that product and the activation as well.
- Products with a side of width R are written in the layout that the matrix library runs fastest:
  with B' contiguous and grad' x as its transpose, they took a third to a half of the time.
- The rows of a packed batch may belong to several adapters (`Routing`). The product with W is one
  for all rows; each adapter's low-rank products run over its own rows. No row, and no gradient,
  passes through another's: not even as a product with zero, which would carry a NaN across.

Dropout's masks are drawn anew in the backward pass, from a seed for each example, so that an
example gets the same mask whatever it is packed with. Layers that share an input share its mask.

benchmarks/train_vs_trl.py times the whole loop. Parameters stay PEFT's, so saving and loading do
not know of it.
"""

import contextlib
import threading
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from peft import tuners
from torch import nn

from copydesk.models._frozen import Frozen, can_freeze
from copydesk.models._gating import ACTIVATIONS, Activation

_SHARED_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Children that read one input, as the Llama, Qwen, Gemma and Mistral families name them."""
_GATED = ("gate_proj", "up_proj", "down_proj")
_SEEDS = 2**63
ROWS_STEP = 16
"""Products with W of a number of rows that is no multiple of this take a tenth longer in bfloat16
(335 rows against 336, by oneDNN on a Zen 5): a batch is filled up with fewer rows than this, which
run through no adapter."""
NOBODY = ""
"""The adapter of rows that run through none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Consecutive rows of a packed batch that run through one adapter."""

    adapter: str
    lengths: tuple[int, ...]
    """Rows of each example."""
    seeds: tuple[int, ...]
    """Of each example's dropout."""


class Routing(threading.local):
    """Which rows run through which adapter; without spans, all run through the active one.

    Each thread has its own, so that batches may run side by side.
    """

    def __init__(self, compiled: bool = False) -> None:
        self.compiled = compiled
        """What lies between products is left to the kernels, on a base that is `compiled`."""
        self._spans: tuple[Span, ...] = ()
        self.layers: tuple[nn.Module, ...] = ()
        """Layers that were given the lean forward with this routing, on the thread that did it."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """Of the batch that runs now."""
        return self._spans

    @contextlib.contextmanager
    def over(self, spans: Sequence[Span]) -> Generator[None]:
        """Route the forward and backward passes of the block."""
        before, self._spans = self._spans, tuple(spans)
        try:
            yield
        finally:
            self._spans = before


class _Drop(NamedTuple):
    share: float
    lengths: tuple[int, ...]
    seeds: tuple[int, ...]

    def mask(self, like: torch.Tensor) -> torch.Tensor:
        """Zeros and 1 / (1 - share), shaped as `like`."""
        drawn = torch.empty(like.shape, device=like.device)
        for rows, seed in zip(drawn.split(self.lengths), self.seeds, strict=True):
            rows.uniform_(generator=torch.Generator(like.device).manual_seed(seed))
        return (drawn >= self.share).to(like.dtype).div_(1 - self.share)


class _Part(NamedTuple):
    layer: int
    scale: float


class _Rows(NamedTuple):
    """One adapter's rows, and its part in each of the layers of a function that has it."""

    start: int
    end: int
    parts: tuple[_Part, ...]
    drop: _Drop | None


def use_lean_lora(model: nn.Module, routing: Routing | None = None) -> int:
    """Give LoRA layers over frozen linears, plain or in 4 bits, the lean forward; returns how many.

    Layers with DoRA keep PEFT's forward. Call it again after adapters were added to layers that had
    none.
    """
    routing = routing or Routing()
    lean: dict[str, Any] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, tuners.lora.LoraLayer) and _is_plain(module)
    }
    layers = tuple(lean.values())
    if routing.layers == layers:  # they find adapters that came since when they run
        return len(lean)
    routing.layers = layers
    for name, module in lean.items():
        module.forward = _lean_forward(_Group([module], routing, _salt(name)))
    for parent_name, parent in model.named_modules():
        children = {name: lean.get(f"{parent_name}.{name}") for name, _ in parent.named_children()}
        for names in _SHARED_INPUT:
            group = [children.get(name) for name in names]
            if all(group):
                _share_input(_Group(group, routing, _salt(f"{parent_name}.{names[0]}")))
        gated = [children.get(name) for name in _GATED]
        if all(gated):
            _use_lean_mlp(
                parent,
                _Group(gated[:2], routing, _salt(f"{parent_name}.{_GATED[0]}")),
                _Group(gated[2:], routing, _salt(f"{parent_name}.{_GATED[2]}")),
            )
    return len(lean)


def _salt(name: str) -> int:
    """Of a layer's dropout, the same for layers that share an input, whoever adapts which."""
    parent, _, leaf = name.rpartition(".")
    for names in _SHARED_INPUT:
        if leaf in names:
            leaf = names[0]
    return zlib.crc32(f"{parent}.{leaf}".encode())


def _is_plain(layer: Any) -> bool:
    return can_freeze(layer.base_layer) and not any(
        layer.use_dora.get(name, False)
        or layer.lora_bias.get(name, False)
        or name in layer.lora_embedding_A
        for name in layer.lora_A
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Layers that read one input."""

    layers: Sequence[Any]
    routing: Routing
    salt: int
    """See `_salt`."""

    @property
    def is_off(self) -> bool:
        return any(layer.disable_adapters or layer.merged for layer in self.layers)

    def frozen(self) -> list[Frozen]:
        """What each layer adapts."""
        return [Frozen(layer.base_layer) for layer in self.layers]

    def plan(self, rows: int) -> tuple[tuple[_Rows, ...], list[torch.Tensor]]:
        """Who has which rows, and the A and B of every part, in that order."""
        plan: list[_Rows] = []
        pairs: list[torch.Tensor] = []
        start = 0
        for adapter, lengths, seeds in self._spans(rows):
            end = start + sum(lengths)
            parts: list[_Part] = []
            share = 0.0
            for place, layer in enumerate(self.layers):
                if adapter not in layer.lora_A:
                    continue
                parts.append(_Part(place, layer.scaling[adapter]))
                pairs += [layer.lora_A[adapter].weight, layer.lora_B[adapter].weight]
                share = float(getattr(layer.lora_dropout[adapter], "p", 0.0))
            if parts:
                drop = self._drop(share, lengths, seeds) if self.layers[0].training else None
                plan.append(_Rows(start, end, tuple(parts), drop))
            start = end
        assert start == rows, "the spans must cover the batch"
        return tuple(plan), pairs

    def _spans(self, rows: int) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
        if self.routing.spans:
            return [(span.adapter, span.lengths, span.seeds) for span in self.routing.spans]
        return [(self.layers[0].active_adapters[0], (rows,), ())]

    def _drop(self, share: float, lengths: tuple[int, ...], seeds: tuple[int, ...]) -> _Drop | None:
        if not share:
            return None
        if not seeds:  # a caller that routes nothing: drawn from the global stream
            seeds = tuple(torch.randint(_SEEDS - 1, (len(lengths),)).tolist())
        salted = tuple((seed * 1_000_003 + self.salt) % _SEEDS for seed in seeds)
        return _Drop(share, lengths, salted)


def _count(x: torch.Tensor) -> int:
    return x.numel() // x.shape[-1]


def _lean_forward(group: _Group) -> Callable[..., torch.Tensor]:
    """The replacement for the forward of a layer by itself."""

    def forward(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        if group.is_off:
            return group.layers[0].base_layer(x)
        plan, pairs = group.plan(_count(x))
        (y,) = _LoraProducts.apply(x, plan, group.frozen(), *pairs)  # pyright: ignore
        return y

    return forward


class _Waiting(threading.local):
    """Outputs that a thread has ready, by place, and the x and its version that they are of."""

    def __init__(self) -> None:
        self.outputs: dict[int, torch.Tensor] = {}
        self.x: tuple[torch.Tensor, int] | None = None


def _share_input(group: _Group) -> None:
    """Let the first of the layers that is called with an x compute the outputs of all."""
    waiting = _Waiting()

    def forward_of(place: int, alone: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def forward(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            # Tensors of inference mode do not say when they were changed in place.
            if x.is_inference() or group.is_off:
                return alone(x)
            same = waiting.x is not None and waiting.x[0] is x and waiting.x[1] == x._version
            if not same or place not in waiting.outputs:
                plan, pairs = group.plan(_count(x))
                outputs: Any = _LoraProducts.apply(x, plan, group.frozen(), *pairs)
                waiting.outputs = dict(enumerate(outputs))
                waiting.x = (x, x._version)
            y = waiting.outputs.pop(place)
            if not waiting.outputs:
                waiting.x = None
            return y

        return forward

    for place, layer in enumerate(group.layers):
        layer.forward = forward_of(place, layer.forward)


def _use_lean_mlp(parent: Any, first: _Group, down: _Group) -> None:
    """Replace a gated MLP's forward, where it is one: tried on numbers, not taken on its name."""
    usual = type(parent).forward.__get__(parent)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x_TD = first.frozen()[0].like_input(4)
    for activation in ACTIVATIONS:

        def forward(x: torch.Tensor, activation: Activation = activation) -> torch.Tensor:
            unloaded = getattr(parent, _GATED[-1]) is not down.layers[0]
            if unloaded or first.is_off or down.is_off:
                return usual(x)
            plan, pairs = first.plan(_count(x))
            plan_down, pairs_down = down.plan(_count(x))
            return _GatedMlp.apply(  # pyright: ignore[reportReturnType]
                x,
                activation,
                first.routing.compiled,
                (plan, plan_down),
                (first.frozen(), down.frozen()),
                *pairs,
                *pairs_down,
            )

        training = parent.training
        parent.eval()
        with torch.no_grad():
            fits = torch.allclose(forward(x_TD), usual(x_TD), rtol=1e-4, atol=1e-6)
        parent.train(training)
        if fits:
            parent.forward, parent.has_lean_forward = forward, True
            return


def has_lean_forward(layer: nn.Module) -> bool:
    """Whether `use_lean_lora` has replaced a LoRA layer's forward."""
    return "forward" in vars(layer)


def drop_lean_forwards(model: Any) -> None:
    """Give gated MLPs and norms their own forward again, after the adapters were taken off."""
    for module in model.modules():
        if getattr(module, "has_lean_forward", False):
            del module.forward, module.has_lean_forward


class _LoraProducts(torch.autograd.Function):
    """x, who has which rows, the frozen layers, A and B of each part -> outputs."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        plan: tuple[_Rows, ...],
        frozen: Sequence[Frozen],
        *pairs: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        x_TD = x.reshape(-1, x.shape[-1])
        outputs, lows = _outputs(x_TD, plan, frozen, pairs)
        ctx.save_for_backward(x_TD, *lows, *pairs)
        ctx.plan, ctx.frozen = plan, frozen
        return tuple(y_TO.view(*x.shape[:-1], -1) for y_TO in outputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        plan = ctx.plan
        x_TD, *rest = ctx.saved_tensors
        lows, pairs = rest[: len(plan)], rest[len(plan) :]
        grads = [grad.reshape(-1, grad.shape[-1]) for grad in grad_outputs]
        wants_x = ctx.needs_input_grad[0]
        gx_TD, gpairs = _gradients(x_TD, lows, plan, ctx.frozen, pairs, grads, wants_x)
        gx = None if gx_TD is None else gx_TD.view(*grad_outputs[0].shape[:-1], -1)
        return gx, None, None, *gpairs


class _GatedMlp(torch.autograd.Function):
    """down(activation(gate(x)) * up(x)); what is in two parts is of gate and up, and of down."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        activation: Activation,
        compiled: bool,
        plans: tuple[tuple[_Rows, ...], tuple[_Rows, ...]],
        frozen: tuple[Sequence[Frozen], Sequence[Frozen]],
        *pairs: torch.Tensor,
    ) -> torch.Tensor:
        x_TD = x.reshape(-1, x.shape[-1])
        cut = _pair_count(plans[0])
        (gate_TI, up_TI), lows = _outputs(x_TD, plans[0], frozen[0], pairs[:cut])
        inner_TI, _ = activation.gated(gate_TI, up_TI, compiled)
        (y_TD,), lows_down = _outputs(inner_TI, plans[1], frozen[1], pairs[cut:])
        ctx.save_for_backward(x_TD, gate_TI, up_TI, *lows, *lows_down, *pairs)
        ctx.activation, ctx.compiled, ctx.plans, ctx.frozen = activation, compiled, plans, frozen
        return y_TD.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        plan, plan_down = ctx.plans
        frozen, frozen_down = ctx.frozen
        x_TD, gate_TI, up_TI, *rest = ctx.saved_tensors
        lows, rest = rest[: len(plan)], rest[len(plan) :]
        lows_down, pairs = rest[: len(plan_down)], rest[len(plan_down) :]
        cut = _pair_count(plan)
        gy_TD = grad_outputs[0].reshape(-1, grad_outputs[0].shape[-1])
        inner_TI, active_TI = ctx.activation.gated(gate_TI, up_TI, ctx.compiled)
        ginner_TI, gpairs_down = _gradients(
            inner_TI, lows_down, plan_down, frozen_down, pairs[cut:], [gy_TD], True
        )
        del inner_TI
        assert ginner_TI is not None
        ggate_TI, gup_TI = ctx.activation.gated_backward(ginner_TI, gate_TI, up_TI, active_TI)
        wants_x = ctx.needs_input_grad[0]
        gx_TD, gpairs = _gradients(
            x_TD, lows, plan, frozen, pairs[:cut], [ggate_TI, gup_TI], wants_x
        )
        gx = None if gx_TD is None else gx_TD.view(*grad_outputs[0].shape[:-1], -1)
        return gx, None, None, None, None, *gpairs, *gpairs_down


def _pair_count(plan: Sequence[_Rows]) -> int:
    """Tensors of the A and B of all parts."""
    return 2 * sum(len(rows.parts) for rows in plan)


def _outputs(
    x_TD: torch.Tensor, plan: Sequence[_Rows], frozen: Sequence[Frozen], pairs: Sequence[Any]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The outputs of layers that read x; and x A' of each adapter's rows, all its layers' side by
    side."""
    outputs = [layer.product(x_TD) for layer in frozen]
    lows: list[torch.Tensor] = []
    at = 0
    for rows in plan:
        as_, bs = pairs[at : at + 2 * len(rows.parts) : 2], pairs[at + 1 :: 2]
        at += 2 * len(rows.parts)
        own_TD = x_TD[rows.start : rows.end]
        if rows.drop:
            own_TD = own_TD * rows.drop.mask(own_TD)
        low_TS = own_TD @ torch.cat([a.to(x_TD.dtype) for a in as_]).T
        parts = low_TS.split([len(a) for a in as_], 1)
        for (layer, scale), low_TR, b_OR in zip(rows.parts, parts, bs, strict=False):
            y_TO = outputs[layer][rows.start : rows.end]
            y_TO.addmm_(low_TR, b_OR.to(y_TO.dtype).T, alpha=scale)
        lows.append(low_TS)
    return outputs, lows


def _gradients(
    x_TD: torch.Tensor,
    lows: Sequence[torch.Tensor],
    plan: Sequence[_Rows],
    frozen: Sequence[Frozen],
    pairs: Sequence[Any],
    grads: Sequence[torch.Tensor],
    wants_x: bool,
) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
    """Gradients of x and, in the order of `pairs`, of each A and B."""
    gx_TD: torch.Tensor | None = None
    if wants_x:
        for gy_TO, layer in zip(grads, frozen, strict=True):
            gx_TD = layer.back(gy_TO, gx_TD)
    gpairs: list[torch.Tensor] = []
    at = 0
    for rows, low_TS in zip(plan, lows, strict=True):
        as_, bs = pairs[at : at + 2 * len(rows.parts) : 2], pairs[at + 1 :: 2]
        at += 2 * len(rows.parts)
        ranks = [len(a) for a in as_]
        glows: list[torch.Tensor] = []
        gbs: list[torch.Tensor] = []
        for (layer, scale), low_TR, b_OR in zip(
            rows.parts, low_TS.split(ranks, 1), bs, strict=False
        ):
            gy_TO = grads[layer][rows.start : rows.end]
            b_RO = b_OR.to(gy_TO.dtype).T.contiguous()
            glows.append((gy_TO @ b_RO.T).mul_(scale))
            gbs.append((low_TR.T @ gy_TO).T.mul(scale).to(b_OR.dtype))
        glow_TS = torch.cat(glows, 1)
        own_TD = x_TD[rows.start : rows.end]
        mask = rows.drop.mask(own_TD) if rows.drop else None
        if gx_TD is not None:
            a_SD = torch.cat([a.to(gx_TD.dtype) for a in as_])
            own_gx_TD = gx_TD[rows.start : rows.end]
            if mask is None:
                own_gx_TD.addmm_(glow_TS, a_SD)
            else:
                own_gx_TD.addcmul_(glow_TS @ a_SD, mask)
        gas = (glow_TS.T @ (own_TD if mask is None else own_TD * mask)).split(ranks)
        for a, ga, gb in zip(as_, gas, gbs, strict=True):
            gpairs += [ga.to(a.dtype), gb]
    return gx_TD, gpairs
