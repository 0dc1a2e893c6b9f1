"""A base's chat template: chats rendered whole, and cut where loss begins and ends."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from copydesk.errors import InvalidInput
from copydesk.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a rendered chat, tokenised apart from what stands before and behind it."""

    text: str
    learned: bool
    """Whether its tokens carry loss."""
    needs_end: bool = False
    """The template marks no end of this turn: the end-of-sequence token is to be put behind it."""


def template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the chat template."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, answer_follows: bool
) -> str:
    """A chat in the template's words, up to where the assistant's answer starts if one follows.

    Raises:
        InvalidInput: the base has no chat template, or its template refuses the chat.
    """
    if not tokenizer.chat_template:
        raise InvalidInput(
            "The base has no chat template",
            todo="Choose an instruction-tuned base, or add chat_template.jinja to its folder.",
        )
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        rendered = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=answer_follows
        )
    except TemplateError as error:
        roles = ", ".join(message.role for message in messages)
        raise InvalidInput(
            f"The base's chat template refuses a chat of {roles}: {error}",
            todo="Leave out what it refuses, or choose another base.",
        ) from error
    assert isinstance(rendered, str)
    return rendered


def chat_spans(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], learned: Sequence[int]
) -> list[list[Span]]:
    """The chat as the template renders it, up to the end of the last turn that is learned.

    Loss begins where generation would begin and ends with the template's mark of the turn's end;
    what the template puts behind the mark, such as a line break, is never generated and carries
    none. (TRL 1.16 takes loss on it, and with it on any user's turns inside a completion.)

    Returns:
        One list of spans. Of a template that renders earlier turns otherwise once others follow
        (such as those that drop earlier thoughts) one list for each learned turn, in which it
        comes last, as when it is generated.
    """
    whole = render(tokenizer, messages, answer_follows=False)
    spans: list[Span] = []
    at = 0
    for turn in learned:
        before = render(tokenizer, messages[:turn], answer_follows=True)
        last = turn == len(messages) - 1
        through = (
            whole if last else render(tokenizer, messages[: turn + 1], answer_follows=False)
        ).rstrip()
        if not (
            whole.startswith(before) and whole.startswith(through) and len(through) > len(before)
        ):
            return [_answer_spans(tokenizer, messages, turn) for turn in learned]
        answer = through[len(before) :]
        ended = not answer.endswith(messages[turn].content.rstrip())
        spans.append(Span(text=through[at : len(before)], learned=False))
        spans.append(Span(text=answer, learned=True, needs_end=last and not ended))
        at = len(through)
    return [spans]


def _answer_spans(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], turn: int
) -> list[Span]:
    """A turn as the template renders it as the last; bare where that has another start."""
    before = render(tokenizer, messages[:turn], answer_follows=True)
    through = render(tokenizer, messages[: turn + 1], answer_follows=False).rstrip()
    content = messages[turn].content
    answer = through[len(before) :] if through.startswith(before) else content
    return [
        Span(text=before, learned=False),
        Span(text=answer, learned=True, needs_end=answer.endswith(content.rstrip())),
    ]
