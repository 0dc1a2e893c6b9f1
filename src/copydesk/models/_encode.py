"""From chats to token ids, in the base's own chat template."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from copydesk.errors import InvalidInput
from copydesk.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Token ids of a prompt and its answer; loss is taken on the answer only."""

    id: str
    ids: tuple[int, ...]
    prompt_length: int
    """How many of `ids` come before the answer."""
    cut: bool = False
    """The answer was longer than the limit and lost its end."""

    @property
    def answer_length(self) -> int:
        """Tokens that carry loss."""
        return len(self.ids) - self.prompt_length

    def without_start(self, count: int) -> "Encoded":
        """The same without its first `count` tokens, which must be prompt tokens."""
        assert count < self.prompt_length
        return replace(self, ids=self.ids[count:], prompt_length=self.prompt_length - count)


def encode_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids of a chat up to where the assistant's answer starts.

    Raises:
        InvalidInput: the base has no chat template, or its template refuses the chat.
    """
    text = _render(tokenizer, messages)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_example(
    tokenizer: PreTrainedTokenizerBase,
    example_id: str,
    messages: Sequence[Message],
    answer: str,
    *,
    max_length: int,
) -> Encoded:
    """Encode a chat and the answer it should get, ended by the template's end of turn.

    The prompt and the answer are tokenised apart, as they are when text is generated. An answer
    that does not fit into `max_length` tokens loses its end, and then carries no end of turn.

    Raises:
        InvalidInput: the prompt alone leaves no room for an answer.
    """
    prompt = encode_chat(tokenizer, messages)
    if len(prompt) >= max_length:
        raise InvalidInput(
            f"The prompt of {example_id} has {len(prompt)} tokens; the limit is {max_length}",
            todo="Raise max_length, or shorten the brief.",
        )
    ids = [*prompt, *tokenizer(answer, add_special_tokens=False)["input_ids"]]
    ids.append(end_of_turn(tokenizer))
    return Encoded(
        id=example_id,
        ids=tuple(ids[:max_length]),
        prompt_length=len(prompt),
        cut=len(ids) > max_length,
    )


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends an assistant's turn: the tokenizer's end-of-sequence token."""
    token: Any = tokenizer.eos_token_id
    if not isinstance(token, int):
        raise InvalidInput("The base's tokenizer names no end-of-sequence token")
    return token


def template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the chat template."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    if not tokenizer.chat_template:
        raise InvalidInput(
            "The base has no chat template",
            todo="Choose an instruction-tuned base, or add chat_template.jinja to its folder.",
        )
    turns = [{"role": message.role, "content": message.content} for message in messages]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert isinstance(rendered, str)
    return rendered
