"""Sequences over the limit: cut, split or left out."""

import itertools
from dataclasses import replace
from typing import Literal

from copydesk.models._encoded import Encoded

Overlong = Literal["cut", "split", "drop"]
_MOST_REPEATED = 0.5
"""Largest share of a part that may be the repeated prompt: beyond it the parts of one long answer
would multiply the data, and the answer is cut instead."""


def fit(example: Encoded, max_length: int, overlong: Overlong) -> tuple[Encoded, ...]:
    """The example within `max_length` tokens; none where it is left out.

    `cut` loses the end. `split` makes further examples from the rest of the answer, each after the
    same prompt; a plain text goes on after its last token instead, since it has no prompt. `drop`
    leaves out what is too long. An example whose prompt leaves no room for an answer is left out
    in any case.
    """
    if len(example.ids) <= max_length:
        return (example,)
    prompt = example.prompt_length
    if overlong == "drop" or prompt >= max_length:
        return ()
    if overlong == "cut" or prompt > max_length * _MOST_REPEATED:
        return (replace(part_of(example, prompt, max_length), cut=True),)
    parts: list[Encoded] = []
    room = max_length - prompt
    for start in range(prompt, len(example.ids), room):
        stop = min(start + room, len(example.ids))
        if _carries_loss(example, start, stop):
            parts.append(part_of(example, start, stop))
    return tuple(parts)


def part_of(example: Encoded, start: int, stop: int) -> Encoded:
    """The prompt and the tokens from `start` to `stop`, up to the last that carries loss."""
    prompt = example.prompt_length
    lead = example.ids[start - 1 : start] if prompt == 1 else example.ids[:prompt]
    carrying = [(max(a, start), min(b, stop)) for a, b in example.spans if a < stop and b > start]
    assert carrying, "a part without loss"
    shift = len(lead) - start
    first, last = carrying[0][0], carrying[-1][1]
    gaps = [(a[1] + shift, b[0] + shift) for a, b in itertools.pairwise(carrying)]
    return Encoded(
        id=example.id,
        ids=(*lead, *example.ids[start:last]),
        prompt_length=first + shift,
        gaps=tuple(gaps),
    )


def _carries_loss(example: Encoded, start: int, stop: int) -> bool:
    return any(a < stop and b > start for a, b in example.spans)
