"""The honest rival of tuning: the untuned base, told how to write and shown how.

The chat carries the client's style guide as the system turn and three of its training examples as
answered briefs or chats, then what is asked.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from copydesk.models import Encoded, encode_chat, encode_examples
from copydesk.records import Example, Message, StyleGuide

SHOWN = 3
_LONGEST = 2**17
_PROMPT_TOKENS = 3072
"""Longest prompt: beyond it, shown pages are dropped, then the guide's end. Small bases lose the
thread of longer ones, and their windows end at 8,192."""


def prompted_examples(
    example: Example,
    references: Sequence[Encoded],
    *,
    guide: StyleGuide,
    examples: Sequence[Example],
    tokenizer: Any,
) -> list[Encoded]:
    """The same answer tokens as the example's own encodings, after the prompted chat.

    Args:
        example: held out.
        references: its encodings, whose losses are to compare.
        guide: the client's.
        examples: the client's training examples.
        tokenizer: of the base.
    """
    if example.is_plain_text:
        return [_prompted_text(one, guide, examples, tokenizer) for one in references]
    first = example.learned[0]
    chat = prompted_chat(example.messages[:first], guide, examples, tokenizer)
    shift = len(chat) - first
    prompted = Example(
        id=example.id,
        messages=(*chat, *example.messages[first:]),
        learned=tuple(turn + shift for turn in example.learned),
    )
    wholes = encode_examples(tokenizer, [prompted], max_length=_LONGEST).examples
    # Where each turn is encoded apart, the last ones may not have fitted.
    return [
        whole.with_answer(reference.answer_length)
        for whole, reference in zip(wholes, references, strict=False)
    ]


def _prompted_text(
    reference: Encoded, guide: StyleGuide, examples: Sequence[Example], tokenizer: Any
) -> Encoded:
    """A plain text has no chat to put the guide into: guide and shown texts stand before it."""
    shown = [example.text for example in examples if example.is_plain_text][:SHOWN]
    before = "\n\n".join(part for part in (_guide_turn(guide), *shown) if part)
    lead = list(tokenizer(before)["input_ids"])[:_PROMPT_TOKENS] if before else []
    return replace(
        reference,
        ids=(*lead, *reference.ids),
        prompt_length=len(lead) + reference.prompt_length,
    )


def prompted_chat(
    asked: Sequence[Message], guide: StyleGuide, examples: Sequence[Example], tokenizer: object
) -> tuple[Message, ...]:
    """The chat that asks the base to write as the client does.

    Args:
        asked: the turns to be answered, a user's last; the words of a system's turn among them
            follow the guide's.
        guide: the client's; an empty one adds nothing.
        examples: the client's training examples; the first `SHOWN` chats are shown.
        tokenizer: of the base, to keep within the prompt's limit.
    """
    guide_turn = _guide_turn(guide)
    shown = [example for example in examples if not example.is_plain_text][:SHOWN]
    while True:
        chat = _chat(guide_turn, shown, asked)
        length = len(encode_chat(tokenizer, chat))  # pyright: ignore[reportArgumentType]
        if length <= _PROMPT_TOKENS:
            return chat
        if shown:
            shown.pop()
        elif guide_turn:
            guide_turn = guide_turn[: len(guide_turn) * _PROMPT_TOKENS // (length + 1)]
        else:
            return chat


def _chat(
    guide_turn: str, shown: Sequence[Example], asked: Sequence[Message]
) -> tuple[Message, ...]:
    own = [turn.content for turn in asked if turn.role == "system"]
    system = "\n\n".join(part for part in (guide_turn, *own) if part)
    turns: list[Message] = [Message(role="system", content=system)] if system else []
    for messages in (*(example.messages for example in shown), asked):
        turns.extend(turn for turn in messages if turn.role != "system")
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
