"""What the Llama, Mistral, Qwen and Gemma families have in common, read from a loaded model.

    h = h + after(o(attention(rope(norm(q)), rope(norm(k)), v)))     of norm(h)
    h = h + after(down(act(gate) * up))                              of norm(h)

Where a family lacks a norm or a bias it is None. Whether what was read is the whole truth about a
model is not decided here: `_handwritten.agrees` compares logits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from copydesk.models import Base
from copydesk.serve._linears import Linear, PlainLinear, hold

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate": ("mlp.gate_proj",),
    "up": ("mlp.up_proj",),
    "down": ("mlp.down_proj",),
}
"""Queries, keys and values are one product. Gate and up are two, though they read one input: the
pairs of adapters beside them would be one half zeros."""


@dataclass(slots=True, kw_only=True)
class Norm:
    """x / rms(x) * weight; Gemma's 1 + weight is in the weight already."""

    weight: torch.Tensor
    epsilon: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


@dataclass(slots=True, kw_only=True)
class Layer:
    """One decoder layer."""

    name: str
    """As modules are named: `model.layers.0`."""
    linears: dict[str, Linear]
    """By group."""
    biases: dict[str, torch.Tensor]
    widths: dict[str, tuple[int, ...]]
    """Outputs of each part of a group."""
    before_attention: Norm
    after_attention: Norm | None
    before_mlp: Norm
    after_mlp: Norm | None
    query_norm: Norm | None
    key_norm: Norm | None
    window: int | None
    rope: str
    """Which table of angles."""


@dataclass(slots=True, kw_only=True)
class Architecture:
    """A decoder and its head."""

    embedding: torch.Tensor
    embedding_scale: float
    layers: list[Layer]
    norm: Norm
    head: Linear
    heads: int
    kv_heads: int
    width: int
    """Of a head."""
    scale: float
    """Of attention's scores."""
    score_cap: float | None
    logit_cap: float | None
    activation: Callable[[torch.Tensor], torch.Tensor]
    rope: dict[str, tuple[torch.Tensor, torch.Tensor]]
    """Cosine and sine [T, K]."""
    quantised: bool = False
    """The weights are held in fewer bits."""

    def quantise(self, how: Literal["int8", "int4"] | None) -> None:
        """Hold the weights, which are plain, in the layout or the bits that are wanted."""
        for layer in self.layers:
            for group, linear in layer.linears.items():
                assert isinstance(linear, PlainLinear)
                layer.linears[group] = hold(linear.weight, how)
        assert isinstance(self.head, PlainLinear)
        self.head = hold(self.head.weight, how)
        self.quantised = how is not None


def read_architecture(base: Base, positions: int) -> Architecture | None:
    """The base as one of the families, with plain weights; None where it is none of them."""
    model: Any = base.model
    config = model.config.get_text_config()
    if model.config.model_type not in FAMILIES or base.quantisation is not None:
        return None
    trunk: Any = getattr(model, model.base_model_prefix)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * len(trunk.layers)
    windowed = model.config.model_type == "mistral"
    names = {id(module): name for name, module in model.named_modules()}
    layers = [
        _read_layer(
            layer,
            names[id(layer)],
            window=config.sliding_window if windowed or kind == "sliding_attention" else None,
            rope=kind,
        )
        for layer, kind in zip(trunk.layers, kinds, strict=True)
    ]
    embedding: Any = model.get_input_embeddings()
    first = trunk.layers[0]
    return Architecture(
        embedding=embedding.weight,
        embedding_scale=float(getattr(embedding, "embed_scale", 1.0)),
        layers=layers,
        norm=_norm(trunk.norm),
        head=PlainLinear(model.get_output_embeddings().weight),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        width=first.self_attn.head_dim,
        scale=first.self_attn.scaling,
        score_cap=getattr(config, "attn_logit_softcapping", None),
        logit_cap=getattr(config, "final_logit_softcapping", None),
        activation=first.mlp.act_fn,
        rope={kind: _angles(trunk.rotary_emb, kind, positions, base) for kind in set(kinds)},
    )


def forget_linears(base: Base) -> None:
    """Let go of the weights that are held in another layout now; the base cannot run any more."""
    trunk: Any = getattr(base.model, base.model.base_model_prefix)
    for layer in trunk.layers:
        for parts in GROUPS.values():
            for part in parts:
                linear = layer.get_submodule(part)
                linear.weight.data = torch.empty(0, dtype=base.dtype, device=base.device)


def _read_layer(layer: Any, name: str, *, window: int | None, rope: str) -> Layer:
    linears: dict[str, Linear] = {}
    biases: dict[str, torch.Tensor] = {}
    widths: dict[str, tuple[int, ...]] = {}
    for group, parts in GROUPS.items():
        modules = [layer.get_submodule(part) for part in parts]
        linears[group] = PlainLinear(torch.cat([module.weight for module in modules]))
        widths[group] = tuple(module.out_features for module in modules)
        if any(module.bias is not None for module in modules):
            biases[group] = torch.cat(
                [
                    module.weight.new_zeros(module.out_features)
                    if module.bias is None
                    else module.bias
                    for module in modules
                ]
            )
    gemma = hasattr(layer, "pre_feedforward_layernorm")
    attention = layer.self_attn
    return Layer(
        name=name,
        linears=linears,
        biases=biases,
        widths=widths,
        before_attention=_norm(layer.input_layernorm),
        after_attention=_norm(layer.post_attention_layernorm) if gemma else None,
        before_mlp=_norm(
            layer.pre_feedforward_layernorm if gemma else layer.post_attention_layernorm
        ),
        after_mlp=_norm(layer.post_feedforward_layernorm) if gemma else None,
        query_norm=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        key_norm=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        window=window,
        rope=rope,
    )


def _norm(module: Any) -> Norm:
    epsilon = getattr(module, "variance_epsilon", None) or module.eps
    offset = 1.0 if type(module).__name__.startswith("Gemma") else 0.0
    weight = (module.weight.float() + offset).to(module.weight.dtype)
    return Norm(weight=weight, epsilon=float(epsilon))


def _angles(
    rotary: Any, kind: str, positions: int, base: Base
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and signed sine [T, K] from the model's own module, so that any scaling is in them.

    rotate(x) = x cos + (x2, x1) (-sin, sin): the sign is in the table, so that halves only change
    places.
    """
    like = torch.empty(0, dtype=torch.float32, device=base.device)
    places = torch.arange(positions, device=base.device)[None]
    by_kind = hasattr(rotary, "layer_types")
    cos, sin = rotary(like, places, kind) if by_kind else rotary(like, places)
    cos, sin = cos[0], sin[0].clone()
    sin[:, : sin.shape[1] // 2].neg_()
    return cos, sin
