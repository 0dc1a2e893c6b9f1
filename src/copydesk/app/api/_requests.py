"""What may be asked: OpenAI's requests, with what is not supported refused by name."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

_Text = Annotated[str, StringConstraints(max_length=4 << 20)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "echo": (False,),
    "suffix": ("",),
}
"""Parameters that are known and do nothing here: the values that ask for nothing."""


class TextPart(BaseModel):
    """A piece of a message's content."""

    model_config = _STRICT

    type: Literal["text"]
    text: _Text


class ChatMessage(BaseModel):
    """One turn. What an answer of this server holds may be sent back as it is."""

    model_config = _STRICT

    role: Literal["system", "developer", "user", "assistant"]
    content: _Text | Annotated[list[TextPart], Field(min_length=1, max_length=512)]
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None

    @property
    def text(self) -> str:
        """The content, in one piece."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """How a stream ends."""

    model_config = _STRICT

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class JsonSchema(BaseModel):
    """The schema that an answer is to be valid by."""

    model_config = _STRICT

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: _Text | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """The form of an answer."""

    model_config = _STRICT

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_one_is_due(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError(
                "schema", "json_schema is given with the type json_schema, and only with it"
            )
        return self

    @property
    def schema_wanted(self) -> dict[str, Any] | None:
        """The schema; `{}` is any JSON, None is any text."""
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {} if self.type == "json_object" else None


class Sampled(BaseModel):
    """What both kinds of requests ask for alike."""

    model_config = _STRICT

    model: _Name
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=1, le=2)] | None = None
    """Not OpenAI's, but known from vLLM and others."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | list[Stop] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Taken and not used, as `metadata` is."""
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    @field_validator(*_NEUTRAL, check_fields=False)
    @classmethod
    def _asks_for_nothing(cls, value: Any, info: Any) -> Any:
        if value is not None and value not in _NEUTRAL[info.field_name]:
            raise PydanticCustomError(
                "unsupported", "this parameter is not supported, only its default is"
            )
        return value

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def usage_streamed(self) -> bool:
        """Whether a stream ends with what it used."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class ChatRequest(Sampled):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    metadata: dict[str, str] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None
    store: bool | None = None
    service_tier: str | None = None


class CompletionRequest(Sampled):
    """`POST /v1/completions`."""

    prompt: _Text | Annotated[list[_Text], Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None

    @property
    def prompts(self) -> list[str]:
        """The prompts, one or more."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class DraftRequest(BaseModel):
    """`POST /v1/drafts`: not OpenAI's. A brief becomes checked drafts, which are kept."""

    model_config = _STRICT

    model: _Name
    """`client` or `client@n`."""
    brief: dict[str, Any]
    """Its fields, as in a brief's file: `title`, `keyword`, `format`, `points`, `facts`, ..."""
    candidates: Annotated[int, Field(ge=1, le=8)] = 1
    variants: Annotated[int, Field(ge=1, le=8)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


def schema_size(schema: Mapping[str, Any]) -> tuple[int, int]:
    """(characters, depth) of a schema; found level by level, so that no depth can overflow."""
    depth, level = 0, [schema]
    while level:
        depth += 1
        level = [
            item
            for node in level
            for item in (node.values() if isinstance(node, Mapping) else node)
            if isinstance(item, dict | list)
        ]
        if depth > 1000:
            return 0, depth
    return len(json.dumps(schema)), depth
