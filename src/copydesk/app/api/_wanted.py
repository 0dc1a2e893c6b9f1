"""What a request comes to, whichever of the two kinds it is, within the limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from copydesk.app.api._answers import ChatStyle, Style, TextStyle
from copydesk.app.api._limits import Limits
from copydesk.app.api._problems import Problem
from copydesk.app.api._requests import ChatRequest, CompletionRequest, Sampled, schema_size
from copydesk.records import Message

_TEXT_TOKENS = 16
"""Tokens of a `/v1/completions` that does not say how many, as with OpenAI."""
Prompt = tuple[Message, ...] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What both kinds of requests come to."""

    prompts: tuple[Prompt, ...]
    choices: int
    """Of each prompt."""
    max_tokens: int
    logprobs: int | None
    schema: dict[str, object] | None
    style: Style
    prefix: str
    """Of the answer's id."""

    @property
    def most_tokens(self) -> int:
        """That all answers together may have."""
        return len(self.prompts) * self.choices * self.max_tokens


def wanted_chat(asked: ChatRequest, limits: Limits) -> Wanted:
    """What a chat asks for.

    Raises:
        Problem: it is over a limit, or contradicts itself.
    """
    if asked.max_tokens and asked.max_completion_tokens:
        raise _over("max_tokens", "give max_completion_tokens or max_tokens, not both")
    if asked.top_logprobs is not None and not asked.logprobs:
        raise _over("top_logprobs", "top_logprobs needs logprobs: true")
    if len(asked.messages) > limits.messages:
        raise _over("messages", f"there are over {limits.messages} messages")
    chat = tuple(
        Message(role="system" if turn.role == "developer" else turn.role, content=turn.text)
        for turn in asked.messages
    )
    _keep_length("messages", [turn.content for turn in chat], limits)
    schema = asked.response_format.schema_wanted if asked.response_format else None
    if schema:
        characters, depth = schema_size(schema)
        if depth > limits.schema_depth or characters > limits.schema_characters:
            raise _over("response_format", "the schema is too long or too deep")
    wants = asked.max_completion_tokens or asked.max_tokens or limits.max_tokens
    return Wanted(
        prompts=(chat,),
        choices=asked.n or 1,
        max_tokens=wants,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        schema=schema,
        style=ChatStyle(logprobs=bool(asked.logprobs)),
        prefix="chatcmpl",
    )


def wanted_text(asked: CompletionRequest, limits: Limits) -> Wanted:
    """What a plain continuation asks for.

    Raises:
        Problem: it is over a limit, or contradicts itself.
    """
    if asked.best_of is not None and asked.best_of != (asked.n or 1):
        raise _over("best_of", "best_of is supported only where it equals n")
    _keep_length("prompt", asked.prompts, limits)
    return Wanted(
        prompts=tuple(asked.prompts),
        choices=asked.n or 1,
        max_tokens=asked.max_tokens or _TEXT_TOKENS,
        logprobs=asked.logprobs,
        schema=None,
        style=TextStyle(logprobs=asked.logprobs),
        prefix="cmpl",
    )


def check_limits(asked: Sampled, wanted: Wanted, limits: Limits) -> None:
    """Raise a `Problem` where a request is over a limit that both kinds have."""
    if len(wanted.prompts) * wanted.choices > limits.choices:
        raise _over("n", f"over {limits.choices} answers are asked for at once")
    if wanted.max_tokens > limits.max_tokens:
        raise _over("max_tokens", f"at most {limits.max_tokens} tokens are made for an answer")
    if len(asked.stops) > limits.stops:
        raise _over("stop", f"there are over {limits.stops} stop strings")
    if any(len(stop) > limits.stop_characters for stop in asked.stops):
        raise _over("stop", f"a stop string has over {limits.stop_characters} characters")
    if asked.stream_options is not None and not asked.stream:
        raise _over("stream_options", "stream_options needs stream: true")


def _keep_length(param: str, texts: Sequence[str], limits: Limits) -> None:
    if sum(map(len, texts)) > limits.prompt_characters:
        raise Problem(
            status=400,
            message=f"The prompt has over {limits.prompt_characters} characters",
            code="context_length_exceeded",
            param=param,
        )


def _over(param: str, why: str) -> Problem:
    return Problem(status=400, message=f"{param}: {why}", code="invalid_value", param=param)
