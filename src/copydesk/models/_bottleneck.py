"""Bottleneck adapters: small modules between a base's layers, which PEFT lacks.

    y = z + up(f(down(z)))        z [.., D], down D -> M, up M -> D, M = D / reduction_factor

z is what a layer's attention or MLP block puts out, before the layer adds it to its input.
`pfeiffer` (Pfeiffer et al. 2021) adapts the MLP's output, `houlsby` (Houlsby et al. 2019) the
attention's too. Houlsby asks for a start near the identity; here up starts at zero, so a fresh
adapter is the identity. A product with a nonlinearity in it folds into no weight matrix: there is
no merging.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from copydesk.errors import InvalidInput, WrongBase
from copydesk.models._adapter_files import CONFIG, WEIGHTS, damaged, read_config, read_tensors
from copydesk.models._load import Base
from copydesk.models._method_settings import BottleneckSettings
from copydesk.models._tuned import Tuned, seeded
from copydesk.store import storage_errors

ADAPTER_TYPE = "copydesk_bottleneck"
_ATTENTION = ("self_attn", "self_attention", "attention", "attn")
_MLP = ("mlp", "feed_forward", "block_sparse_moe", "ffn")
_NON_LINEARITIES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


@validated(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class BottleneckConfig:
    """What `adapter_config.json` states, and all that is needed to build the modules again."""

    adapter_type: Literal["copydesk_bottleneck"] = ADAPTER_TYPE
    format_version: Literal[1] = 1
    base_model_name_or_path: str
    base_digest: str
    """SHA-256 of the base's weights, tokenizer and chat template."""
    placement: Literal["pfeiffer", "houlsby"]
    reduction_factor: int = Field(ge=1)
    non_linearity: Literal["relu", "gelu", "silu", "tanh"]
    hidden_size: int = Field(ge=1)
    bottleneck_size: int = Field(ge=1)
    num_layers: int = Field(ge=1)


class Bottleneck(nn.Module):
    """One adapter module. Parameters are float32; they multiply in the input's format."""

    def __init__(self, hidden: int, size: int, non_linearity: str, device: torch.device) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, size, device=device, dtype=torch.float32)
        self.up = nn.Linear(size, hidden, device=device, dtype=torch.float32)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self._non_linearity = _NON_LINEARITIES[non_linearity]

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """[.., D] to [.., D]."""
        low = functional.linear(z, self.down.weight.to(z.dtype), self.down.bias.to(z.dtype))
        low = self._non_linearity(low)
        return z + functional.linear(low, self.up.weight.to(z.dtype), self.up.bias.to(z.dtype))


def prepare_bottleneck(base: Base, settings: BottleneckSettings, seed: int) -> Tuned:
    """Put trainable modules, in float32, behind the base's blocks.

    Raises:
        InvalidInput: the base's layers have no blocks that are known by name.
    """
    layers = _layers(base)
    hidden = int(base.model.config.get_text_config().hidden_size)
    config = BottleneckConfig(
        base_model_name_or_path=base.info.name,
        base_digest=base.info.digest,
        placement=settings.placement,
        reduction_factor=settings.reduction_factor,
        non_linearity=settings.non_linearity,
        hidden_size=hidden,
        bottleneck_size=max(1, hidden // settings.reduction_factor),
        num_layers=len(layers),
    )
    with seeded(seed):
        parameters = _inject(base, config)
    return Tuned(
        method="bottleneck",
        base=base,
        model=base.model,
        parameters=parameters,
        bottleneck=config,
    )


def save_bottleneck(tuned: Tuned, folder: Path) -> None:
    """Write the configuration and the tensors."""
    config: Any = tuned.bottleneck
    assert isinstance(config, BottleneckConfig)
    stated = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
    tensors = {name: p.detach().cpu().contiguous() for name, p in tuned.parameters.items()}
    with storage_errors(folder):
        (folder / CONFIG).write_text(stated, encoding="utf-8")
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


@torch.no_grad()
def load_bottleneck(base: Base, folder: Path) -> Tuned:
    """Put saved modules on a base, for use, not for training.

    Raises:
        WrongBase: they were trained on another base.
        Damaged: the folder does not state what its tensors are.
    """
    config, tensors = read_bottleneck(base, folder)
    for name, parameter in _inject(base, config).items():
        parameter.copy_(tensors[name])
        parameter.requires_grad_(False)
    return Tuned(method="bottleneck", base=base, model=base.model, parameters={}, bottleneck=config)


def read_bottleneck(base: Base, folder: Path) -> tuple[BottleneckConfig, dict[str, torch.Tensor]]:
    """What a folder states, and its tensors by name, checked against the base.

    Raises:
        WrongBase, Damaged: as `load_bottleneck`.
    """
    try:
        config = TypeAdapter(BottleneckConfig).validate_python(read_config(folder))
    except ValidationError as error:
        issues = "; ".join(f"{issue['loc'][0]}: {issue['msg']}" for issue in error.errors())
        raise damaged(f"The adapter's configuration is wrong: {issues}", folder / CONFIG) from error
    if config.base_digest != base.info.digest:
        raise WrongBase(
            f"The adapter was trained on {config.base_model_name_or_path} "
            f"({config.base_digest[:12]}), not on {base.info.name} ({base.info.digest[:12]})",
            where=str(folder),
            todo="Use the base it was trained on, or train it again on this one.",
        )
    tensors = read_tensors(folder)
    shape = (int(base.model.config.get_text_config().hidden_size), len(_layers(base)))
    if (config.hidden_size, config.num_layers) != shape:
        raise damaged(
            "The adapter's configuration has another shape than its base", folder / CONFIG
        )
    _check_tensors(config, base, tensors, folder)
    return config, tensors


def bottleneck_blocks(base: Base, config: BottleneckConfig) -> Iterator[tuple[str, nn.Module]]:
    """Name in the adapter's file, and module, of each block that is adapted."""
    return _blocks(base, config.placement)


def _layers(base: Base) -> nn.ModuleList:
    """The decoder layers: the longest list of modules that the trunk holds."""
    trunk: Any = getattr(base.model, base.model.base_model_prefix)
    lists = [child for child in trunk.children() if isinstance(child, nn.ModuleList)]
    if not lists:
        raise InvalidInput(
            f"{base.info.name} has no list of layers to put adapters into",
            todo="Use lora or full.",
        )
    return max(lists, key=len)


def _blocks(base: Base, placement: str) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each block that is adapted, in order."""
    wanted = (_ATTENTION, _MLP) if placement == "houlsby" else (_MLP,)
    for number, layer in enumerate(_layers(base)):
        children = dict(layer.named_children())
        for names in wanted:
            name = next((name for name in names if name in children), None)
            if name is None:
                raise InvalidInput(
                    f"A layer of {base.info.name} has none of the blocks {', '.join(names)}",
                    todo="Use lora or full.",
                )
            yield f"layers.{number}.{name}", children[name]


def _expected(config: BottleneckConfig, base: Base) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape, by name."""
    wide, narrow = config.hidden_size, config.bottleneck_size
    return {
        f"{block}.bottleneck.{part}": shape
        for block, _ in _blocks(base, config.placement)
        for part, shape in (
            ("down.weight", (narrow, wide)),
            ("down.bias", (narrow,)),
            ("up.weight", (wide, narrow)),
            ("up.bias", (wide,)),
        )
    }


def _check_tensors(
    config: BottleneckConfig, base: Base, tensors: Mapping[str, torch.Tensor], folder: Path
) -> None:
    expected = _expected(config, base)
    if odd := sorted(expected.keys() ^ tensors.keys()):
        raise damaged(f"The adapter's tensors are not those it states: {odd[0]}", folder / WEIGHTS)
    for name, shape in expected.items():
        found = tensors[name]
        if tuple(found.shape) != shape or found.dtype != torch.float32:
            raise damaged(
                f"The adapter's tensor {name} is {found.dtype} {tuple(found.shape)}, "
                f"not float32 {shape}",
                folder / WEIGHTS,
            )


def _inject(base: Base, config: BottleneckConfig) -> dict[str, nn.Parameter]:
    """Register a module on every block and run it on the block's output; returns parameters."""
    parameters: dict[str, nn.Parameter] = {}
    for name, block in _blocks(base, config.placement):
        module = Bottleneck(
            config.hidden_size, config.bottleneck_size, config.non_linearity, base.device
        )
        block.register_module("bottleneck", module)
        block.register_forward_hook(_adapt)
        for part, parameter in module.named_parameters():
            parameters[f"{name}.bottleneck.{part}"] = parameter
    return parameters


def _adapt(block: nn.Module, _: Any, output: Any) -> Any:
    """The block's output through its adapter; attention puts out a tuple whose first is adapted."""
    adapter: Any = block.bottleneck
    if isinstance(output, tuple):
        return (adapter(output[0]), *output[1:])
    return adapter(output)
