"""The shapes of answers, for the OpenAPI document; `_answers` fills them."""

from typing import Any, Literal

from pydantic import BaseModel

Finish = Literal["stop", "length"]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every answer but the one that was asked for."""

    error: ErrorDetail


class Model(BaseModel):
    """A model that the key may use."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class PromptDetails(BaseModel):
    """Of the prompt."""

    cached_tokens: int


class Usage(BaseModel):
    """Tokens that were used; a prompt counts once, however many answers it had."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class TopLogprob(BaseModel):
    """A token that was likely."""

    token: str
    bytes: list[int]
    logprob: float


class ChatLogprob(TopLogprob):
    """A token that was drawn."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """Of an answer's tokens."""

    content: list[ChatLogprob]
    refusal: None


class AnswerMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Finish


class ChatCompletion(BaseModel):
    """The answer of `/v1/chat/completions`; as a stream, `chat.completion.chunk`s."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage


class TextLogprobs(BaseModel):
    """Of an answer's tokens, as the older interface has them."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class TextChoice(BaseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Finish


class TextCompletion(BaseModel):
    """The answer of `/v1/completions`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage


class FindingShape(BaseModel):
    """What a check says."""

    family: str
    rule: str
    severity: str
    start: int
    end: int
    message: str
    source: str


class DraftShape(BaseModel):
    """A checked draft, as `copydesk write --json` has it."""

    client: str
    version: str
    title: str
    slug: str
    meta_description: str
    text: str
    findings: list[FindingShape]
    request_id: str


class DraftList(BaseModel):
    """The answer of `/v1/drafts`."""

    object: Literal["list"]
    data: list[DraftShape]
    usage: Usage


_SAID = {
    400: "The request cannot be answered as it is.",
    401: "No key was given, or it is wrong or revoked.",
    403: "The key is not one for this.",
    404: "There is no such model, or the key does not allow it.",
    408: "The body did not come in time.",
    413: "The body is too long.",
    429: "The queue is full, or the key's rate or quota is used up.",
    503: "The engine is down or ends.",
    504: "The answer was not finished in time.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers of these statuses, as FastAPI documents them."""
    return {
        status: {"model": ErrorAnswer, "description": _SAID[status]}
        for status in (*statuses, 401, 403)
    }
