"""The honest rival of tuning: the untuned base, told how to write and shown how.

The chat carries the client's style guide as the system turn and three of its training pages as
answered briefs, then the brief in question.
"""

from collections.abc import Sequence

from copydesk.corpus import brief_text
from copydesk.models import encode_chat
from copydesk.records import Brief, Example, Message, StyleGuide

SHOWN = 3
_PROMPT_TOKENS = 3072
"""Longest prompt: beyond it, shown pages are dropped, then the guide's end. Small bases lose the
thread of longer ones, and their windows end at 8,192."""


def prompted_chat(
    brief: Brief, guide: StyleGuide, examples: Sequence[Example], tokenizer: object
) -> tuple[Message, ...]:
    """The chat that asks the base to write as the client does.

    Args:
        brief: what to write.
        guide: the client's; an empty one gives no system turn.
        examples: the client's training examples; the first `SHOWN` are shown.
        tokenizer: of the base, to keep within the prompt's limit.
    """
    system = _guide_turn(guide)
    shown = list(examples[:SHOWN])
    while True:
        chat = _chat(system, shown, brief)
        length = len(encode_chat(tokenizer, chat))  # pyright: ignore[reportArgumentType]
        if length <= _PROMPT_TOKENS:
            return chat
        if shown:
            shown.pop()
        elif system:
            system = system[: len(system) * _PROMPT_TOKENS // (length + 1)]
        else:
            return chat


def _chat(system: str, shown: Sequence[Example], brief: Brief) -> tuple[Message, ...]:
    turns: list[Message] = [Message(role="system", content=system)] if system else []
    for example in shown:
        turns.append(Message(role="user", content=brief_text(example.brief)))
        turns.append(Message(role="assistant", content=example.text))
    turns.append(Message(role="user", content=brief_text(brief)))
    return tuple(turns)


def _guide_turn(guide: StyleGuide) -> str:
    parts = [guide.voice.strip()] if guide.voice.strip() else []
    if guide.banned:
        parts.append("Never use: " + ", ".join(guide.banned) + ".")
    if guide.prefer:
        parts.append(
            "Say: " + "; ".join(f"{use} instead of {avoid}" for avoid, use in guide.prefer.items())
        )
    return "\n\n".join(parts)
