"""Tuning methods: which parameters they train, and what they leave on disk.

| method | trains | leaves |
|---|---|---|
| `full` | every parameter, in float32 | a base in Hugging Face layout |
| `lora` | low-rank pairs beside the linear layers (Hu et al. 2021), in float32 | a PEFT folder |
"""

import contextlib
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from copydesk.errors import Damaged, InvalidInput, UnknownName, WrongBase
from copydesk.models._load import Base, pick_dtype
from copydesk.models._lora import use_lean_lora
from copydesk.models._quiet import quiet
from copydesk.store import storage_errors


@validated(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FullSettings:
    """Full fine-tuning has no settings of its own."""


@validated(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LoraSettings:
    """Settings of LoRA, named as PEFT names them."""

    lora_r: int = Field(default=16, ge=1, le=1024)
    lora_alpha: int = Field(default=32, ge=1, le=4096)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = "all-linear"


MethodSettings = FullSettings | LoraSettings


@dataclass(slots=True, kw_only=True)
class Tuned:
    """A base under a method: the model to run and the parameters to train."""

    method: str
    base: Base
    model: PreTrainedModel
    """The bare transformers model; a method's modules are injected into it."""
    parameters: Mapping[str, torch.nn.Parameter]
    """What is trained, by name, in a fixed order."""
    peft: PeftModel | None = None
    rate_factors: Mapping[str, float] = field(default_factory=dict[str, float])
    """Parameter's name -> factor on the learning rate; what is not named has 1."""

    @property
    def trainable_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A tuning method, as a value."""

    name: str
    label: str
    settings: type[FullSettings] | type[LoraSettings]
    learning_rate: float
    """The default. LoRA's best rate is about ten times full fine-tuning's (LoRA Without Regret,
    2025)."""
    leaves: Literal["adapter", "base"]
    dtype: Callable[[str, torch.device], torch.dtype]
    """The number format of the base's weights, from the wanted one and the device."""
    prepare: Callable[[Base, Any, int], Tuned]
    """Make the parameters trainable: base, settings, seed."""
    save: Callable[[Tuned, Path], None]
    """Write what the method leaves into an existing folder."""


def _full_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Weights that are trained are kept in float32: in bfloat16 small updates round to nothing."""
    return pick_dtype("float32" if wanted == "auto" else wanted, device)


def _prepare_full(base: Base, settings: FullSettings, seed: int) -> Tuned:
    del settings, seed
    base.model.requires_grad_(True)
    return Tuned(
        method="full",
        base=base,
        model=base.model,
        parameters=dict(base.model.named_parameters()),
    )


def _save_full(tuned: Tuned, folder: Path) -> None:
    with quiet(), storage_errors(folder):
        tuned.model.save_pretrained(folder)
        tuned.base.tokenizer.save_pretrained(folder)


def _prepare_lora(base: Base, settings: LoraSettings, seed: int) -> Tuned:
    targets = settings.target_modules
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
    )
    try:
        with _seeded(seed), _peft_notices():
            wrapper = get_peft_model(base.model, config)
    except ValueError as error:
        raise InvalidInput(
            f"LoRA cannot be put on {base.info.name}: {str(error).splitlines()[0]}",
            where=f"target_modules={settings.target_modules}",
            todo="Use all-linear, or names of the base's linear layers such as q_proj,v_proj.",
        ) from error
    assert isinstance(wrapper, PeftModel)
    # PEFT wrote the path of this machine; a name means something elsewhere too.
    kept: Any = wrapper.peft_config["default"]
    kept.base_model_name_or_path = base.info.name
    kept.target_modules = sorted(kept.target_modules)  # a set: its order differs between processes
    use_lean_lora(wrapper)
    parameters = {
        name: parameter for name, parameter in wrapper.named_parameters() if parameter.requires_grad
    }
    return Tuned(
        method="lora",
        base=base,
        model=wrapper.get_base_model(),  # pyright: ignore[reportArgumentType]
        parameters=parameters,
        peft=wrapper,
    )


def _save_adapter(tuned: Tuned, folder: Path) -> None:
    assert tuned.peft is not None
    with storage_errors(folder):
        # Embeddings are never trained by these methods; asking PEFT to look would ask a hub.
        tuned.peft.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)


METHODS: Mapping[str, Method] = {
    "full": Method(
        name="full",
        label="full fine-tuning",
        settings=FullSettings,
        learning_rate=2e-4,
        leaves="base",
        dtype=_full_dtype,
        prepare=_prepare_full,
        save=_save_full,
    ),
    "lora": Method(
        name="lora",
        label="LoRA",
        settings=LoraSettings,
        learning_rate=2e-3,
        leaves="adapter",
        dtype=pick_dtype,
        prepare=_prepare_lora,
        save=_save_adapter,
    ),
}


def load_adapter(base: Base, folder: Path, *, bound_to: str) -> PeftModel:
    """Put a saved adapter on a base, for use, not for training.

    Args:
        base: freshly loaded; it is changed in place.
        folder: a PEFT folder.
        bound_to: digest of the base that the adapter was trained on.

    Raises:
        WrongBase: `base` has another digest.
        Damaged: the folder is incomplete, or a tensor in it is not finite.
    """
    if bound_to != base.info.digest:
        raise WrongBase(
            f"The adapter was trained on base {bound_to[:12]}, not on {base.info.name} "
            f"({base.info.digest[:12]})",
            where=str(folder),
            todo="Use the base it was trained on, or train it again on this one.",
        )
    _check_finite(folder / "adapter_model.safetensors")
    with _peft_notices():
        model = PeftModel.from_pretrained(base.model, str(folder), local_files_only=True)
    assert isinstance(model, PeftModel)
    model.eval()
    return model


def merge(model: PeftModel) -> PreTrainedModel:
    """Fold an adapter into its base's weights; the wrapper is spent afterwards."""
    merged: Any = model.merge_and_unload()
    assert isinstance(merged, PreTrainedModel)
    return merged


def find_method(name: str) -> Method:
    """A method by name.

    Raises:
        UnknownName: there is none of that name; lists those there are.
    """
    if name not in METHODS:
        raise UnknownName(
            f"There is no method {name!r}", todo=f"Methods are: {', '.join(METHODS)}."
        )
    return METHODS[name]


def _check_finite(file: Path) -> None:
    try:
        with safe_open(str(file), framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if not bool(torch.isfinite(tensors.get_tensor(name)).all()):
                    raise Damaged(
                        f"The adapter's tensor {name} is not finite",
                        where=str(file),
                        todo="Train it again.",
                    )
    except (OSError, SafetensorError) as error:
        if isinstance(error, Damaged):
            raise
        raise Damaged(
            f"The adapter cannot be read: {error}", where=str(file), todo="Train it again."
        ) from error


@contextlib.contextmanager
def _peft_notices() -> Generator[None]:
    """Silence what PEFT 0.21 does that transformers 5 calls old: nothing a user could change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        yield


@contextlib.contextmanager
def _seeded(seed: int) -> Generator[None]:
    """Draw initial weights from `seed`, and leave the global stream as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
