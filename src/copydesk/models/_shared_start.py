"""Examples that start alike: the common start is run once, and each example attends to it.

A base prompted with a style guide and example pages carries the same thousand tokens before every
brief, and each trained example begins with the template's system turn and the first words of a
brief. What precedes a token alone decides its states, so that one copy of such a start gives the
losses and, as gradients add up in it, the gradients of many; they differ by rounding.

Where all batches of a scoring start alike, the start's keys and values are computed once
(`prefix_states`) and stand before each example as a cache would. Within a batch it is laid before
the examples that share it (`pack_families`).
"""

from collections.abc import Sequence
from typing import Any

from peft.tuners.lora import LoraLayer
from torch import nn

from copydesk.models._attention import ATTENTION
from copydesk.models._encoded import Encoded
from copydesk.models._tuned import Tuned

_WORTH = 0.25
"""Share of all tokens that keys and values must save that are computed apart; below it their own
pass and the mask cost more."""


def common_start(examples: Sequence[Encoded]) -> int:
    """How many first tokens all examples have in common, of those that neither carry loss nor
    predict a token that does; 0 of one example."""
    if len(examples) < 2:
        return 0
    first, last = min(example.ids for example in examples), max(example.ids for example in examples)
    length = min(example.prompt_length - 1 for example in examples)
    for place, (left, right) in enumerate(zip(first[:length], last, strict=False)):
        if left != right:  # what the smallest and the greatest share, all share
            return place
    return length


def shared_length(examples: Sequence[Encoded]) -> int:
    """The common start, where computing its keys and values once for all batches pays; else 0."""
    length = common_start(examples)
    saved = length * (len(examples) - 1)
    return length if saved > _WORTH * sum(len(example.ids) for example in examples) else 0


def families_of(examples: Sequence[Encoded], shared: bool) -> list[Sequence[Encoded]]:
    """Examples in one family, or each in a family of its own, which shares nothing."""
    return [examples] if shared else [[example] for example in examples]


def rows_of(families: Sequence[Sequence[Encoded]]) -> int:
    """Rows that examples take, each family's start laid once."""
    return sum(
        sum(len(example.ids) for example in family) - common_start(family) * (len(family) - 1)
        for family in families
    )


def shares_starts(tuned: Tuned, *, training: bool) -> bool:
    """Whether examples that start alike can have that start in common: nothing else stands before
    them, no mask is drawn for each, and the attention is ours for CPUs."""
    config: Any = tuned.model.config
    return (
        tuned.base.packed
        and tuned.virtual is None
        and tuned.base.device.type != "cuda"
        and config._attn_implementation == ATTENTION
        and not (training and _drops(tuned))
    )


def _drops(tuned: Tuned) -> bool:
    """Whether training draws dropout for what is this adapter's, or the base's."""
    config = tuned.model.config.get_text_config()
    if any(value for name, value in vars(config).items() if "drop" in name):
        return True
    others: set[int] = set()
    for layer in tuned.model.modules():
        if isinstance(layer, LoraLayer):
            others |= {
                id(dropout)
                for adapter, dropout in layer.lora_dropout.items()
                if adapter != tuned.adapter
            }
    return any(
        isinstance(module, nn.Dropout) and module.p > 0 and id(module) not in others
        for module in tuned.model.modules()
    )
