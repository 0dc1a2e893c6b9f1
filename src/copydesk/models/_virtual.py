"""Prompt and prefix tuning: PEFT's parameters and files, trained in packed batches.

Both start from the words of `INITIAL_TEXT`: the prompt from their embeddings (Lester et al. 2021
find words better than noise), the prefix from the keys and values that the base computes for them
(Li and Liang 2021 find the same where data is scarce). PEFT's own start is noise, which on a small
client's pages is not unlearned in time.
"""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import DynamicCache

from copydesk.errors import InvalidInput
from copydesk.models._load import Base
from copydesk.models._low_rank import save_peft
from copydesk.models._method_settings import PrefixSettings, PromptSettings
from copydesk.models._quiet import peft_notices
from copydesk.models._tuned import Tuned, VirtualTokens, seeded

INITIAL_TEXT = (
    "Write as this client writes: in its voice, with its words and its rhythm, about what it knows."
)


def prepare_prompt(base: Base, settings: PromptSettings, seed: int) -> Tuned:
    """Learned embeddings [P, D], in float32, before every text."""
    config = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=settings.num_virtual_tokens
    )
    wrapper = _wrap(base, config, seed)
    embedding: Any = wrapper.prompt_encoder["default"].embedding
    words: Any = base.model.get_input_embeddings()
    with torch.no_grad():
        ids_P = _initial_ids(base, settings.num_virtual_tokens)
        embedding.weight.copy_(words(ids_P))
    return _tuned("prompt", base, wrapper)


def prepare_prefix(base: Base, settings: PrefixSettings, seed: int) -> Tuned:
    """Learned keys and values for every layer, in float32, before every text's own.

    Raises:
        InvalidInput: layers of the base differ in their heads, or keep no keys and values.
    """
    config = PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=settings.num_virtual_tokens,
        prefix_projection=settings.prefix_projection,
    )
    wrapper = _wrap(base, config, seed)
    if not settings.prefix_projection:
        _start_from_text(base, wrapper, settings.num_virtual_tokens)
    return _tuned("prefix", base, wrapper)


def save_virtual(tuned: Tuned, folder: Path) -> None:
    """Write a PEFT folder; a prefix's projection is applied, not saved."""
    assert tuned.peft is not None
    save_peft(tuned.peft, folder)


def _wrap(base: Base, config: PromptTuningConfig | PrefixTuningConfig, seed: int) -> PeftModel:
    with seeded(seed), peft_notices():
        wrapper = get_peft_model(base.model, config)
    assert isinstance(wrapper, PeftModel)
    kept: Any = wrapper.peft_config["default"]
    kept.base_model_name_or_path = base.info.name
    wrapper.prompt_encoder.float()  # pyright: ignore[reportCallIssue]
    return wrapper


def _tuned(kind: Any, base: Base, wrapper: PeftModel) -> Tuned:
    return Tuned(
        method=kind,
        base=base,
        model=base.model,
        parameters={
            name: parameter
            for name, parameter in wrapper.named_parameters()
            if parameter.requires_grad
        },
        peft=wrapper,
        virtual=VirtualTokens(kind=kind, wrapper=wrapper),
    )


def _initial_ids(base: Base, count: int) -> torch.Tensor:
    """[P] token ids of the initial text, repeated or cut to length."""
    ids: list[int] = base.tokenizer(INITIAL_TEXT, add_special_tokens=False)["input_ids"]
    repeated = ids * -(-count // len(ids))
    return torch.tensor(repeated[:count], device=base.device)


@torch.no_grad()
def _start_from_text(base: Base, wrapper: PeftModel, count: int) -> None:
    """Lay the base's own keys and values [1, H_kv, P, K] where PEFT keeps the prefix's.

    PEFT holds them as [P, layers x 2 x H_kv x K].
    """
    trunk: Any = getattr(base.model, base.model.base_model_prefix)
    cache: Any = DynamicCache()
    options: dict[str, Any] = {"segment_lengths": (count,)} if base.packed else {}
    trunk(
        input_ids=_initial_ids(base, count)[None],
        past_key_values=cache,
        use_cache=True,
        **options,
    )
    embedding: Any = wrapper.prompt_encoder["default"].embedding
    pairs = [pair for layer in cache.layers for pair in (layer.keys, layer.values)]
    flat = [pair[0].transpose(0, 1).reshape(count, -1) for pair in pairs]
    states = torch.cat(flat, dim=1)
    if states.shape != embedding.weight.shape:
        raise InvalidInput(
            f"Prefix tuning does not fit {base.info.name}: its layers differ in their heads",
            todo="Use prompt or lora.",
        )
    embedding.weight.copy_(states)
