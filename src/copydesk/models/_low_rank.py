"""LoRA and its variants: PEFT's layers beside the base's linear layers.

A variant is a few options of PEFT's configuration. Two things are added here. LoRA+ gives B a
learning rate of its own. PiSSA takes the greatest singular vectors out of the base while it trains;
what is saved is an ordinary adapter of twice the rank for the untouched base:

    W - s B0 A0 + s B A  =  W + s [B, -B0] [A; A0]
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from copydesk.errors import InvalidInput
from copydesk.models._load import Base
from copydesk.models._lora import Routing, use_lean_lora
from copydesk.models._method_settings import DoraSettings, LoraSettings, LowRankSettings
from copydesk.models._norms import use_lean_norms
from copydesk.models._quiet import peft_notices
from copydesk.models._tuned import Tuned, seeded
from copydesk.store import storage_errors

_PISSA: Any = "pissa_niter_16"
"""Randomised SVD: seconds instead of minutes, and at 16 iterations Meng et al. (2024) find no
difference from the exact one."""


def prepare_low_rank(method: str, base: Base, settings: LowRankSettings, seed: int) -> Tuned:
    """Put trainable pairs, in float32, beside the base's linear layers.

    Raises:
        InvalidInput: `target_modules` names layers that the base lacks.
    """
    routing = Routing(base.compiled)
    wrapper = add_low_rank(base, None, "default", settings, seed)
    use_lean_lora(wrapper, routing)
    if base.compiled:
        use_lean_norms(wrapper)
    parameters = {name: p for name, p in wrapper.named_parameters() if p.requires_grad}
    pissa = isinstance(settings, LoraSettings) and settings.init_lora_weights == "pissa"
    return Tuned(
        method=method,
        base=base,
        model=wrapper.get_base_model(),  # pyright: ignore[reportArgumentType]
        parameters=parameters,
        peft=wrapper,
        rate_factors=rate_factors(parameters, settings.loraplus_lr_ratio),
        initial={name: p.detach().clone() for name, p in parameters.items()} if pissa else {},
        routing=routing,
    )


def add_low_rank(
    base: Base, wrapper: PeftModel | None, name: str, settings: LowRankSettings, seed: int
) -> PeftModel:
    """Add an adapter by PEFT, to the base or to a wrapper that has others; its first weights follow
    from the seed alone.

    Raises:
        InvalidInput: as `prepare_low_rank`.
    """
    config = _configuration(settings)
    try:
        with seeded(seed), peft_notices():
            if wrapper is None:
                made: Any = get_peft_model(base.model, config, adapter_name=name)
            else:
                made = wrapper
                made.add_adapter(name, config)
    except ValueError as error:
        raise InvalidInput(
            f"LoRA cannot be put on {base.info.name}: {str(error).splitlines()[0]}",
            where=f"target_modules={settings.target_modules}",
            todo="Use all-linear, or names of the base's linear layers such as q_proj,v_proj.",
        ) from error
    assert isinstance(made, PeftModel)
    # PEFT wrote the path of this machine; a name means something elsewhere too.
    kept: Any = made.peft_config[name]
    kept.base_model_name_or_path = base.info.name
    kept.target_modules = sorted(kept.target_modules)  # a set: its order differs between processes
    return made


def add_to_layers(
    wrapper: PeftModel,
    layers: Iterable[Any],
    like: LoraConfig,
    name: str,
    settings: LoraSettings,
    seed: int,
) -> None:
    """Add an adapter to the layers that PEFT gave one of the same targets.

    It is what `add_low_rank` makes, to the bit, without PEFT's search of every module of every
    adapter, whose time grows with the square of their number.

    Args:
        wrapper: has the layers.
        layers: PEFT's, in the model's order.
        like: PEFT's configuration of the adapter that it was found out with.
        name: of the adapter.
        settings: with the targets of `like`.
        seed: of the first weights.
    """
    config = _configuration(settings)
    config.target_modules = like.target_modules
    config.base_model_name_or_path = like.base_model_name_or_path
    wrapper.peft_config[name] = config
    with seeded(seed), peft_notices():
        for layer in layers:
            layer.update_layer(name, config.r, config.lora_alpha, config=config)
            for pair in (layer.lora_A, layer.lora_B):
                # As PEFT leaves them: drawn, in the base's format, in float32.
                pair[name].to(torch.float32).train(layer.training)
            layer.lora_dropout[name].train(layer.training)


def _configuration(settings: LowRankSettings) -> LoraConfig:
    """PEFT's."""
    targets = settings.target_modules
    pissa = isinstance(settings, LoraSettings) and settings.init_lora_weights == "pissa"
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
        use_rslora=settings.use_rslora,
        use_dora=isinstance(settings, DoraSettings),
        init_lora_weights=_PISSA if pissa else True,
    )


def save_low_rank(tuned: Tuned, folder: Path) -> None:
    """Write a PEFT folder that loads on the untouched base."""
    assert tuned.peft is not None
    config: Any = tuned.peft.peft_config[tuned.adapter]
    changed: dict[str, Any] = {}
    state: dict[str, torch.Tensor] | None = None
    if tuned.initial:
        state = _beside_the_whole_base(tuned)
        # The scale stays: alpha / r, or alpha / sqrt(r) of rsLoRA.
        growth = 2**0.5 if config.use_rslora else 2
        changed = {
            "r": 2 * config.r,
            "lora_alpha": growth * config.lora_alpha,
            "init_lora_weights": True,
        }
    before = {key: getattr(config, key) for key in changed}
    try:
        for key, value in changed.items():
            setattr(config, key, value)
        save_peft(tuned.peft, folder, state, adapter=tuned.adapter)
    finally:
        for key, value in before.items():
            setattr(config, key, value)


def save_peft(
    wrapper: PeftModel,
    folder: Path,
    state: Mapping[str, Any] | None = None,
    *,
    adapter: str = "default",
) -> None:
    """Write PEFT's two files, from other weights than the model's own where `state` is given."""
    options: Any = {} if state is None else {"state_dict": state}
    with storage_errors(folder):
        # Embeddings are never trained by these methods; asking PEFT to look would ask a hub.
        wrapper.save_pretrained(
            str(folder), save_embedding_layers=False, selected_adapters=[adapter], **options
        )
        (folder / "README.md").unlink(missing_ok=True)
        if adapter != "default":  # PEFT gives it a folder of its own
            for file in (folder / adapter).iterdir():
                file.rename(folder / file.name)
            (folder / adapter).rmdir()


def rate_factors(names: Mapping[str, Any], ratio: float | None) -> dict[str, float]:
    """LoRA+: B's learning rate as a multiple of A's."""
    if ratio is None:
        return {}
    return {name: ratio for name in names if "lora_B" in name}


def _beside_the_whole_base(tuned: Tuned) -> dict[str, torch.Tensor]:
    """A and B of twice the rank, by the wrapper's names."""
    state: dict[str, torch.Tensor] = {}
    for name, parameter in tuned.parameters.items():
        first = tuned.initial[name]
        if "lora_A" in name:
            state[name] = torch.cat([parameter.detach(), first], dim=0)
        else:
            state[name] = torch.cat([parameter.detach(), -first], dim=1)
    return state
