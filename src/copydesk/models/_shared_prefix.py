"""Examples that start alike: the common start is run once, and each example attends to it.

A base prompted with a style guide and example pages carries the same thousand tokens before every
brief. Their keys and values are computed once (`prefix_states`) and stand before each example as a
cache would; the losses are the same but for rounding.
"""

from collections.abc import Sequence

from copydesk.models._encoded import Encoded

_WORTH = 0.25
"""Share of all tokens that must be saved; below it the prefix's own pass and mask cost more."""


def shared_length(examples: Sequence[Encoded]) -> int:
    """How many first tokens to share: prompt tokens that all have; 0 where it does not pay."""
    if len(examples) < 2:
        return 0
    first, last = min(example.ids for example in examples), max(example.ids for example in examples)
    length = min(example.prompt_length - 1 for example in examples)
    for place, (left, right) in enumerate(zip(first[:length], last, strict=False)):
        if left != right:  # what the smallest and the greatest share, all share
            length = place
            break
    saved = length * (len(examples) - 1)
    return length if saved > _WORTH * sum(len(example.ids) for example in examples) else 0
