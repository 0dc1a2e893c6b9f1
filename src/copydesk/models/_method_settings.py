"""Settings of each tuning method, named as the field names them. A method has no others."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

_STRICT = ConfigDict(extra="forbid")


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class FullSettings:
    """Full fine-tuning has no settings of its own."""


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LowRankSettings:
    """What LoRA and its variants share, named as PEFT names it."""

    lora_r: int = Field(default=16, ge=1, le=1024)
    lora_alpha: int = Field(default=32, ge=1, le=4096)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = "all-linear"
    use_rslora: bool = False
    """Scale by alpha / sqrt(r) instead of alpha / r (Kalajdzievski 2023), for ranks above 64."""
    loraplus_lr_ratio: float | None = Field(default=None, gt=0, le=1024)
    """B's learning rate as a multiple of A's (LoRA+, Hayou et al. 2024, who advise about 16)."""


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LoraSettings(LowRankSettings):
    """LoRA (Hu et al. 2021)."""

    init_lora_weights: Literal["default", "pissa"] = "default"
    """`default` starts with B = 0; `pissa` with the weight's greatest singular vectors (Meng et
    al. 2024), which the base then lacks while it is trained."""


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DoraSettings(LowRankSettings):
    """DoRA (Liu et al. 2024): LoRA turns the weights' directions, a vector sets their lengths."""


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class QloraSettings(LowRankSettings):
    """QLoRA (Dettmers et al. 2023): LoRA over a base whose linear layers are held in 4 bits."""

    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    bnb_4bit_use_double_quant: bool = True
    """Quantise the scales too: 4.13 instead of 4.5 bits a weight."""


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PromptSettings:
    """Prompt tuning (Lester et al. 2021): learned embeddings before every text."""

    num_virtual_tokens: int = Field(default=20, ge=1, le=1024)


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class PrefixSettings:
    """Prefix tuning (Li and Liang 2021): learned keys and values before every text's."""

    num_virtual_tokens: int = Field(default=20, ge=1, le=1024)
    prefix_projection: bool = False
    """Learn them through a two-layer perceptron, which is dropped after training; it wants a
    learning rate a hundred times smaller (Li and Liang use 5e-5)."""


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class BottleneckSettings:
    """Adapter modules, named as AdapterHub names their settings."""

    placement: Literal["pfeiffer", "houlsby"] = "pfeiffer"
    """After each layer's MLP (Pfeiffer et al. 2021), or after its attention too (Houlsby et al.
    2019)."""
    reduction_factor: int = Field(default=16, ge=1, le=4096)
    """The base's width divided by the modules'."""
    non_linearity: Literal["relu", "gelu", "silu", "tanh"] = "relu"


MethodSettings = (
    FullSettings
    | LoraSettings
    | DoraSettings
    | QloraSettings
    | PromptSettings
    | PrefixSettings
    | BottleneckSettings
)
