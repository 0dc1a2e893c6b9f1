"""Ready-made examples: which form a record is in, and the chat that it spells.

The forms are those that trainers read: `messages` (OpenAI, TRL), `prompt` and `completion` (TRL),
`instruction`, `input` and `output` (Alpaca), `conversations` of `from` and `value` (ShareGPT).
Whatever the form, a chat is a system's turn or none, then user and assistant in turn, and the
assistant's comes last.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from copydesk.corpus._fields import UnfitError, check_characters, day, kind_name, line_field
from copydesk.corpus._pages import TEXT_FIELDS, Place
from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._words import slug
from copydesk.records import Chat, ChatForm, Message

_Role = Literal["system", "user", "assistant"]
_ROLES: Final[Mapping[str, _Role]] = {
    "system": "system",
    "developer": "system",  # what OpenAI calls it since its o1 models
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
}
_KEYS: Final[Mapping[ChatForm, tuple[str, ...]]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt-completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
}
_LONGEST_NAME: Final = 40


def chat_form(record: Mapping[str, object]) -> ChatForm | None:
    """The form of a ready-made example; None for what is to be read as a page or a plain text.

    A record with a title and a text is a page whatever else it holds. Of a form that has two keys
    one suffices where the record has no text: then it is told what it lacks.
    """
    has_text = any(record.get(name) for name in TEXT_FIELDS)
    if has_text and record.get("title"):
        return None
    for form, keys in _KEYS.items():
        if all(key in record for key in keys):
            return form
    if not has_text:
        for form, keys in _KEYS.items():
            if any(key in record for key in keys):
                return form
    return None


def chat_of(
    record: Mapping[str, object],
    form: ChatForm,
    place: Place,
    *,
    client: str,
    settings: CurateSettings,
) -> Chat:
    """Read one record of a form. Turns are kept as they are, blanks around them left out.

    All assistant's turns are learned; of `prompt` and `completion` those of the completion; a turn
    of `"weight": 0` (OpenAI) is not.

    Raises:
        UnfitError: unknown role, no assistant's turn, empty content, turns out of order, values of
            a wrong type, or too long.
    """
    turns, learnable = _READERS[form](record)
    _check_order(turns)
    learned = tuple(
        number
        for number, turn in enumerate(turns)
        if turn.role == "assistant" and number in learnable
    )
    if not learned:
        raise UnfitError("no-answer", "Every turn of the assistant has the weight 0.")
    characters = sum(len(turn.content) for turn in turns)
    if characters > settings.max_record_chars:
        raise UnfitError(
            "too-long",
            f"Its turns have {characters:,} characters; "
            f"at most {settings.max_record_chars:,} are taken.",
        )
    return Chat(
        id=line_field(record, "id") or _made_id(turns),
        client=client,
        form=form,
        messages=tuple(turns),
        learned=learned,
        date=day(line_field(record, "date")),
        source=place.source,
        sha256=place.digest,
    )


_Turns = tuple[list[Message], frozenset[int]]
"""Turns in order, and the numbers of those that may be learned where they are the assistant's."""


def _messages(record: Mapping[str, object]) -> _Turns:
    return _turn_list(record["messages"], "messages")


def _sharegpt(record: Mapping[str, object]) -> _Turns:
    turns, learnable = _turn_list(record["conversations"], "conversations")
    if not record.get("system"):
        return turns, learnable
    system = Message(role="system", content=_text(record["system"], "system"))
    return [system, *turns], frozenset(number + 1 for number in learnable)


def _prompt_completion(record: Mapping[str, object]) -> _Turns:
    """Texts are a user's and an assistant's turn; lists of turns are theirs."""
    prompt, _ = _side(record, "prompt", "user")
    completion, learnable = _side(record, "completion", "assistant")
    return [*prompt, *completion], frozenset(len(prompt) + number for number in learnable)


def _side(record: Mapping[str, object], name: str, role: _Role) -> _Turns:
    value = record.get(name)
    if isinstance(value, list):
        return _turn_list(value, name)
    return [Message(role=role, content=_text(value, name))], frozenset({0})


def _alpaca(record: Mapping[str, object]) -> _Turns:
    """The instruction and, below a blank line, its input; no wording is put around them."""
    asked = _text(record.get("instruction"), "instruction")
    given = record.get("input")
    if not isinstance(given, str | None):
        raise UnfitError("bad-field", f"The field `input` holds {kind_name(given)}, not text.")
    if given and given.strip():
        asked = f"{asked}\n\n{_text(given, 'input')}"
    answer = _text(record.get("output"), "output")
    return [
        Message(role="user", content=asked),
        Message(role="assistant", content=answer),
    ], frozenset({1})


_READERS: Final = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "prompt-completion": _prompt_completion,
    "alpaca": _alpaca,
}


def _turn_list(value: object, name: str) -> _Turns:
    if not isinstance(value, list):
        raise UnfitError("bad-field", f"The field `{name}` holds {kind_name(value)}, not a list.")
    turns: list[Message] = []
    learnable: set[int] = set()
    for number, item in enumerate(value):
        where = f"{name}[{number}]"
        if not isinstance(item, dict):
            raise UnfitError("bad-field", f"`{where}` is {kind_name(item)}, not a turn.")
        turn: Mapping[str, object] = item
        turns.append(_turn(turn, where))
        weight = turn.get("weight", 1)
        if weight is None or weight == 1:
            learnable.add(number)
        elif weight != 0:
            raise UnfitError("bad-field", f"`{where}` has a weight other than 0 and 1.")
    return turns, frozenset(learnable)


def _turn(turn: Mapping[str, object], where: str) -> Message:
    """`role` and `content`, or `from` and `value`."""
    role_key, content_key = ("from", "value") if "from" in turn else ("role", "content")
    said = turn.get(role_key)
    if not isinstance(said, str):
        raise UnfitError(
            "bad-field", f"`{where}` holds {kind_name(said)} as its `{role_key}`, not text."
        )
    role = _ROLES.get(said.strip().lower())
    if role is None:
        shown = ascii(said[:_LONGEST_NAME])
        raise UnfitError(
            "unknown-role",
            f"`{where}` has the role {shown}; roles are system, user and assistant.",
        )
    if turn.get("tool_calls") or turn.get("function_call"):
        raise UnfitError("bad-field", f"`{where}` calls a tool; only text is learned.")
    return Message(role=role, content=_text(turn.get(content_key), f"{where}.{content_key}"))


def _text(value: object, name: str) -> str:
    """A text, or OpenAI's list of parts where all of them are texts."""
    if isinstance(value, list) and value and all(map(_is_text_part, value)):
        value = "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise UnfitError("bad-field", f"The field `{name}` holds {kind_name(value)}, not text.")
    if not value.strip():
        raise UnfitError("empty-content", f"The field `{name}` is empty.")
    check_characters(name, value)
    return value.replace("\r\n", "\n").replace("\r", "\n").strip()


def _is_text_part(part: object) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _check_order(turns: Sequence[Message]) -> None:
    if all(turn.role != "assistant" for turn in turns):
        raise UnfitError("no-answer", "There is no turn of the assistant to learn from.")
    spoken = turns[1:] if turns[0].role == "system" else turns
    for number, turn in enumerate(spoken):
        expected = "assistant" if number % 2 else "user"
        if turn.role != expected:
            place = number + len(turns) - len(spoken) + 1
            raise UnfitError(
                "not-alternating",
                f"Turn {place} is the {turn.role}'s where the {expected}'s is due; "
                "user and assistant take turns, and only the first may be the system's.",
            )
    if turns[-1].role != "assistant":
        raise UnfitError("no-answer", "The last turn is the user's and has no answer.")


def _made_id(turns: Sequence[Message]) -> str:
    asked = next(turn.content for turn in turns if turn.role == "user")
    spelled = "\n".join(f"{turn.role}\n{turn.content}" for turn in turns)
    digest = hashlib.sha256(spelled.encode()).hexdigest()[:8]
    return f"{slug(asked[:200], 40) or 'chat'}-{digest}"
