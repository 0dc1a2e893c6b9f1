"""Shapes of models: cards that ship with Copydesk, and any `config.json`.

A card is the part of a model's public `config.json` that fixes the shape of its tensors. Nothing of
a model is loaded: transformers builds the architecture on the meta device from the configuration.
"""

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from copydesk.errors import InvalidInput, UnknownName, Unreachable
from copydesk.models import BaseStore, hollow_base

DEFAULT_MODEL = "smollm2-135m"
LARGEST_CONFIG = 1 << 20
_MOST = {
    "num_hidden_layers": 1024,
    "hidden_size": 1 << 17,
    "intermediate_size": 1 << 20,
    "vocab_size": 1 << 22,
    "num_attention_heads": 4096,
    "num_experts": 4096,
    "n_routed_experts": 4096,
    "num_local_experts": 4096,
}
"""Several times what the largest open models have; beyond it a file is taken for a mistake."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_HUB_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A model's shape."""

    name: str
    config: PretrainedConfig
    stored_dtype: str
    """Of the published weights: float32, bfloat16 or float16."""
    total_parameters: int
    """A shared tensor once."""
    linear_parameters: int
    """In linear layers but the head: what 4 bits hold."""
    expert_parameters: int
    """In stacked weights of experts, which bitsandbytes does not quantise."""

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return int(self.config.get_text_config().num_hidden_layers)


def shape_names() -> tuple[str, ...]:
    """The shipped cards, by name."""
    folder = resources.files("copydesk.study") / "shapes"
    return tuple(sorted(Path(file.name).stem for file in folder.iterdir() if file.name[0] != "."))


def find_architecture(ref: str, *, cache: Path) -> Architecture:
    """A model's shape by name or place.

    Args:
        ref: a folder with a config.json, such a file, a base in the cache, a shipped card's name,
            or a Hugging Face id; the first that it is.
        cache: the user's cache folder.

    Raises:
        UnknownName: it is none of these; lists the cards.
        InvalidInput: the configuration cannot be used; says what is wrong.
        Unreachable: the hub did not answer.
    """
    path = Path(ref).expanduser()
    if path.is_dir():
        return read_architecture(path, path.resolve().name)
    if path.is_file():
        return _read(path, path.stem if path.name != "config.json" else path.resolve().parent.name)
    with contextlib.suppress(UnknownName):
        return read_architecture(BaseStore(cache).find(ref).path, ref)
    if ref in shape_names():
        card = resources.files("copydesk.study") / "shapes" / f"{ref}.json"
        return _made(json.loads(card.read_text(encoding="utf-8")), ref, f"shape card {ref}")
    if _HUB_ID.fullmatch(ref):
        return _read(_from_hub(ref), ref)
    raise UnknownName(
        f"There is no model {ref!r}",
        todo=f"Name a folder with a config.json, a Hugging Face id, or one of: "
        f"{', '.join(shape_names())}.",
    )


def read_architecture(folder: Path, name: str) -> Architecture:
    """The shape of a base in a folder.

    Raises:
        InvalidInput: there is no config.json, or it cannot be used; says what is wrong.
    """
    return _read(folder / "config.json", name)


def _from_hub(ref: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(ref, "config.json", etag_timeout=_HUB_SECONDS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Unreachable(
            f"The model hub did not give the configuration of {ref}: {str(error).splitlines()[0]}",
            todo="Check the name and the network, or name a folder, a config.json or a shape card: "
            + ", ".join(shape_names()),
        ) from error


def _read(path: Path, name: str) -> Architecture:
    where = str(path)
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise InvalidInput("The configuration is over 1 MiB", where=where)
        stated = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(
            "There is no config.json to read",
            where=where,
            todo="Name a folder that has one, or the file itself.",
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InvalidInput("The configuration is not JSON", where=where) from error
    return _made(stated, name, where)


def _made(stated: Any, name: str, where: str) -> Architecture:
    """Raise InvalidInput where a configuration is none, or absurd."""
    if not isinstance(stated, Mapping) or not isinstance(stated.get("model_type"), str):
        raise InvalidInput(
            "The configuration names no model_type",
            where=where,
            todo="It must be a config.json in Hugging Face layout.",
        )
    fields: dict[str, Any] = dict(stated)
    kind = fields.pop("model_type")
    if kind not in CONFIG_MAPPING:
        raise InvalidInput(
            f"transformers knows no architecture {kind!r}",
            where=where,
            todo="Shapes that come with code of their own are not run.",
        )
    _check_sizes(fields, where)
    for key in ("auto_map", "quantization_config", "transformers_version", "_name_or_path"):
        fields.pop(key, None)
    try:
        config = AutoConfig.for_model(kind, **fields)
        layers = int(config.get_text_config().num_hidden_layers)
    except Exception as error:  # each of 400 architectures validates in its own way
        raise InvalidInput(
            f"The configuration cannot be used: {str(error).strip().splitlines()[0]}", where=where
        ) from error
    if layers < 1:
        raise InvalidInput("The configuration has no layers", where=where)
    dtype = fields.get("dtype") or fields.get("torch_dtype") or "float32"
    model: Any = hollow_base(config, name, dtype=torch.bfloat16).model
    head = model.get_output_embeddings()
    return Architecture(
        name=name,
        config=config,
        stored_dtype=str(dtype),
        total_parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear_parameters=sum(
            module.weight.numel()
            for module in model.modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        ),
        expert_parameters=sum(
            parameter.numel() for parameter in model.parameters() if parameter.dim() == 3
        ),
    )


def _check_sizes(fields: Mapping[str, Any], where: str, inside: str = "") -> None:
    """Names every field that is not a sane number."""
    problems: list[str] = []
    for name, most in _MOST.items():
        value = fields.get(name)
        wrong = not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most
        if value is not None and wrong:
            problems.append(f"{inside}{name} is {str(value)[:30]}, and at most {most} is believed")
    if problems:
        raise InvalidInput(f"The configuration is absurd: {'; '.join(problems)}", where=where)
    text = fields.get("text_config")
    if isinstance(text, Mapping):
        _check_sizes(text, where, "text_config.")
