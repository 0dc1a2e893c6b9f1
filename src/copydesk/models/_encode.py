"""From chats to token ids, in the base's own chat template."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from copydesk.errors import InvalidInput
from copydesk.models._bases import BaseInfo
from copydesk.models._encoded import Encoded, EncodedSet
from copydesk.models._encoded_cache import EncodedCache
from copydesk.models._overlong import Overlong, fit
from copydesk.models._template import Span, chat_spans, render
from copydesk.records import Example, Message


def load_tokenizer(base: BaseInfo) -> PreTrainedTokenizerBase:
    """A base's tokenizer, without its weights."""
    return AutoTokenizer.from_pretrained(base.path, local_files_only=True, trust_remote_code=False)


def encode_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids of a chat up to where the assistant's answer starts.

    Raises:
        InvalidInput: the base has no chat template, or its template refuses the chat.
    """
    text = render(tokenizer, messages, answer_follows=True)
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

    An answer that does not fit into `max_length` tokens loses its end, and then carries no end of
    turn.

    Raises:
        InvalidInput: the prompt alone leaves no room for an answer.
    """
    example = Example(
        id=example_id,
        messages=(*messages, Message(role="assistant", content=answer)),
        learned=(len(messages),),
    )
    (whole,) = _tokenised(tokenizer, [example])[0]
    fitting = fit(whole, max_length, "cut")
    if not fitting:
        raise InvalidInput(
            f"The prompt of {example_id} has {whole.prompt_length} tokens; "
            f"the limit is {max_length}",
            todo="Raise max_length, or shorten the brief.",
        )
    return fitting[0]


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_length: int,
    overlong: Overlong = "cut",
    cache: EncodedCache | None = None,
) -> EncodedSet:
    """Encode the examples of a dataset, in order.

    A chat has the ids of the template that renders it whole, up to the end of its last learned
    turn; each learned turn and what stands between them is tokenised apart, as it is when text is
    generated. A plain text has the tokenizer's own start, if it sets one, and an end of sequence;
    all but its first token carry loss.

    Args:
        tokenizer: the base's.
        examples: chats and plain texts.
        max_length: most tokens of an example.
        overlong: what becomes of longer ones, see `fit`.
        cache: where encoded sets are kept; without one nothing is.

    Raises:
        InvalidInput: the base has no chat template, or it refuses one of the chats.
    """
    if cache is not None:
        key = cache.key(examples, max_length=max_length, overlong=overlong)
        encoded = cache.read(key)
        if encoded is None:
            encoded = _encoded_set(tokenizer, examples, max_length, overlong)
            cache.write(key, encoded)
        return encoded
    return _encoded_set(tokenizer, examples, max_length, overlong)


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends an assistant's turn: the tokenizer's end-of-sequence token."""
    token: Any = tokenizer.eos_token_id
    if not isinstance(token, int):
        raise InvalidInput("The base's tokenizer names no end-of-sequence token")
    return token


def _encoded_set(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    max_length: int,
    overlong: Overlong,
) -> EncodedSet:
    fitted: list[Encoded] = []
    split = dropped = 0
    for wholes in _tokenised(tokenizer, examples):
        parts = [part for whole in wholes for part in fit(whole, max_length, overlong)]
        split += len(parts) > len(wholes)
        dropped += not parts
        fitted.extend(parts)
    return EncodedSet(examples=tuple(fitted), split=split, dropped=dropped)


def _tokenised(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> list[list[Encoded]]:
    """Each example whole: one sequence, or one for each learned turn (see `chat_spans`)."""
    rendered = [
        [] if example.is_plain_text else chat_spans(tokenizer, example.messages, example.learned)
        for example in examples
    ]
    texts = [span.text for chat in rendered for spans in chat for span in spans]
    # All at once: the tokenizer has a fixed cost a call.
    ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
    end = end_of_turn(tokenizer)
    encoded: list[list[Encoded]] = []
    for example, chat in zip(examples, rendered, strict=True):
        if example.is_plain_text:
            encoded.append([_plain_text(tokenizer, example, end)])
            continue
        encoded.append(
            [_joined(example.id, [(span, next(ids)) for span in spans], end) for spans in chat]
        )
    return encoded


def _joined(example_id: str, spans: Sequence[tuple[Span, list[int]]], end: int) -> Encoded:
    ids: list[int] = []
    silent: list[tuple[int, int]] = []
    for span, found in spans:
        start = len(ids)
        ids.extend(found)
        if span.needs_end:
            ids.append(end)
        if not span.learned:
            silent.append((start, len(ids)))
    (_, prompt_length), *gaps = silent
    return Encoded(
        id=example_id,
        ids=tuple(ids),
        prompt_length=prompt_length,
        gaps=tuple(gap for gap in gaps if gap[0] < gap[1]),
    )


def _plain_text(tokenizer: PreTrainedTokenizerBase, example: Example, end: int) -> Encoded:
    ids: list[int] = list(tokenizer(example.text)["input_ids"])
    if ids[-1:] != [end]:
        ids.append(end)
    return Encoded(id=example.id, ids=tuple(ids), prompt_length=1)
