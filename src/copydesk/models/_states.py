"""Last hidden states of packed examples, whatever the method puts before or into them.

Packed examples run in one forward where the base keeps them apart; where it cannot (`Base.packed`),
each runs by itself with the base's own attention. Every example sees its own copy of a method's
virtual tokens: a prompt's embeddings are laid before each, a prefix's keys and values are what
attention sees first.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import DynamicCache

from copydesk.models._attention import SegmentPrefix
from copydesk.models._lora import ROWS_STEP
from copydesk.models._pack import Family, Packed
from copydesk.models._tuned import Tuned, VirtualTokens


def answer_states(
    tuned: Tuned, packed: Packed, prefix: SegmentPrefix | None = None
) -> torch.Tensor:
    """Last hidden states [L, D] at the positions that carry loss.

    Args:
        tuned: a base under a method.
        packed: on the model's device.
        prefix: from `prefix_states`; holds everything that stands before each example, the
            method's virtual tokens too.
    """
    trunk: Any = getattr(tuned.model, tuned.model.base_model_prefix)
    shared = any(family.start for family in packed.families)
    assert not shared or (prefix is None and tuned.virtual is None), "one start before another"
    if not tuned.base.packed:
        assert prefix is None and not shared, "examples that run by themselves share no start"
        hidden_TD = _apart(trunk, packed, tuned)
    elif prefix is None and tuned.virtual is not None and tuned.virtual.kind == "prompt":
        hidden_TD = _behind_prompts(trunk, packed, tuned.virtual)
    else:
        if prefix is None and tuned.virtual is not None:
            prefix = _layers(tuned.virtual.cache())
        start = prefix[0][0].shape[2] if prefix else 0
        filled = _filled(packed) if tuned.base.compiled else packed
        with tuned.routed(packed.lengths, filled.rows - packed.rows):
            hidden_TD = trunk(
                input_ids=filled.input_ids_T[None],
                position_ids=filled.position_ids_T[None] + start,
                use_cache=False,
                segment_lengths=filled.lengths,
                segment_parents=filled.parents if shared else None,
                segment_prefix=prefix,
            ).last_hidden_state[0]
    return hidden_TD[packed.loss_positions_L]


def _filled(packed: Packed) -> Packed:
    """With an example more, of no meaning, so that rows are a multiple of `ROWS_STEP`."""
    missing = -packed.rows % ROWS_STEP
    if not missing:
        return packed
    ids_T, positions_T = packed.input_ids_T, packed.position_ids_T
    return replace(
        packed,
        input_ids_T=torch.cat([ids_T, ids_T.new_zeros(missing)]),
        position_ids_T=torch.cat([positions_T, torch.arange(missing, device=ids_T.device)]),
        families=(*packed.families, Family(start=0, lengths=(missing,))),
    )


def prefix_states(tuned: Tuned, ids: Sequence[int]) -> SegmentPrefix:
    """Each layer's keys and values of the tokens `ids`, and of the virtual tokens before them.

    For `answer_losses(prefix=...)`. The base must keep packed examples apart.
    """
    assert tuned.base.packed
    trunk: Any = getattr(tuned.model, tuned.model.base_model_prefix)
    ids_1T = torch.tensor([ids], device=tuned.model.device)
    inputs: dict[str, Any] = {"input_ids": ids_1T}
    length, before = len(ids), None
    if tuned.virtual is not None and tuned.virtual.kind == "prompt":
        embeddings_TD: Any = trunk.get_input_embeddings()(ids_1T)[0]
        prompt_PD = tuned.virtual.embeddings().to(embeddings_TD.dtype)
        length += len(prompt_PD)
        inputs = {"inputs_embeds": torch.cat([prompt_PD, embeddings_TD])[None]}
    elif tuned.virtual is not None:
        before = _layers(tuned.virtual.cache())
    start = before[0][0].shape[2] if before else 0
    cache = DynamicCache()
    with tuned.routed((length,)):
        trunk(
            **inputs,
            position_ids=torch.arange(start, start + length, device=tuned.model.device)[None],
            past_key_values=cache,
            use_cache=True,
            segment_lengths=(length,),
            segment_prefix=before,
        )
    found = _layers(cache)
    if before is None:
        return found
    return [
        (torch.cat([k0.to(k.dtype), k], dim=2), torch.cat([v0.to(v.dtype), v], dim=2))
        for (k0, v0), (k, v) in zip(before, found, strict=True)
    ]


def _behind_prompts(trunk: Any, packed: Packed, virtual: VirtualTokens) -> torch.Tensor:
    """Hidden states [T, D] of the examples' own tokens, each example behind its own prompt."""
    embeddings_TD: torch.Tensor = trunk.get_input_embeddings()(packed.input_ids_T)
    prompt_PD = virtual.embeddings().to(embeddings_TD.dtype)
    count = len(prompt_PD)
    grown = tuple(count + length for length in packed.lengths)
    pieces: list[torch.Tensor] = []
    for example_TD in embeddings_TD.split(packed.lengths):
        pieces += [prompt_PD, example_TD]
    hidden_GD: torch.Tensor = trunk(
        inputs_embeds=torch.cat(pieces)[None],
        position_ids=torch.cat([torch.arange(length, device=prompt_PD.device) for length in grown])[
            None
        ],
        use_cache=False,
        segment_lengths=grown,
    ).last_hidden_state[0]
    return torch.cat([states_GD[count:] for states_GD in hidden_GD.split(grown)])


def _apart(trunk: Any, packed: Packed, tuned: Tuned) -> torch.Tensor:
    """Hidden states [T, D] by the base's own attention, one example a forward."""
    states: list[torch.Tensor] = []
    virtual = tuned.virtual
    for ids_T in packed.input_ids_T.split(packed.lengths):
        inputs: dict[str, Any] = {"input_ids": ids_T[None], "use_cache": False}
        if virtual is not None and virtual.kind == "prompt":
            embeddings_TD: torch.Tensor = trunk.get_input_embeddings()(ids_T)
            prompt_PD = virtual.embeddings().to(embeddings_TD.dtype)
            inputs = {
                "inputs_embeds": torch.cat([prompt_PD, embeddings_TD])[None],
                "use_cache": False,
            }
        elif virtual is not None:
            inputs = {"input_ids": ids_T[None], "past_key_values": virtual.cache()}
        states.append(trunk(**inputs).last_hidden_state[0, -len(ids_T) :])
    return torch.cat(states)


def _layers(cache: Any) -> SegmentPrefix:
    return [(layer.keys, layer.values) for layer in cache.layers]
