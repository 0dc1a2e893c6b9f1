"""What is sent to vLLM for a continuation, and what its chunks mean."""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from copydesk.errors import EngineDown
from copydesk.records import Generate, Piece, TokenLogprob

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def path_of(request: Generate) -> str:
    """The route for a request."""
    return TEXT if isinstance(request.prompt, str) else CHAT


def body_of(request: Generate, model: str, max_tokens: int) -> dict[str, Any]:
    """The request's body. All are streamed: a stream that is closed is work that ends."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": sampling.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if isinstance(request.prompt, str):
        body["prompt"] = request.prompt
        if request.logprobs is not None:
            body["logprobs"] = request.logprobs
        if request.json_schema is not None:
            body["response_format"] = _form(request.json_schema)
        return body
    body["messages"] = [{"role": turn.role, "content": turn.content} for turn in request.prompt]
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.json_schema is not None:
        body["response_format"] = _form(request.json_schema)
    return body


def _form(schema: Mapping[str, Any]) -> dict[str, Any]:
    if not schema:
        return {"type": "json_object"}
    named = {"name": "answer", "schema": dict(schema), "strict": True}
    return {"type": "json_schema", "json_schema": named}


class Reading:
    """A stream as it is read: pieces out, how it ended kept."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self.text = ""
        self.finish: Literal["stop", "length"] | None = None
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.tokens: int | None = None

    def take(self, data: str) -> Piece | None:
        """The new text of one event's data, if it has any.

        Raises:
            EngineDown: vLLM reports an error, or sends what is no chunk.
        """
        try:
            chunk = json.loads(data)
            if "error" in chunk:
                raise EngineDown(f"vLLM failed: {str(chunk['error'])[:300]}")
            self._take_usage(chunk.get("usage") or {})
            choices = chunk["choices"]
            return self._take_choice(choices[0]) if choices else None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise EngineDown("vLLM sent what is no chunk of an answer") from error

    def _take_usage(self, usage: Mapping[str, Any]) -> None:
        if usage:
            self.prompt_tokens = int(usage["prompt_tokens"])
            self.tokens = int(usage.get("completion_tokens") or 0)
            details = usage.get("prompt_tokens_details") or {}
            self.cached_tokens = int(details.get("cached_tokens") or 0)

    def _take_choice(self, choice: Mapping[str, Any]) -> Piece | None:
        text = (choice["delta"].get("content") if self._chat else choice["text"]) or ""
        found = choice.get("logprobs") or {}
        likely = _chat_logprobs(found) if self._chat else _text_logprobs(found)
        if choice.get("finish_reason"):
            self.finish = "length" if choice["finish_reason"] == "length" else "stop"
        self.text += text
        return Piece(text=text, logprobs=likely) if text or likely else None


def _chat_logprobs(found: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            token=one["token"],
            token_bytes=_bytes(one),
            logprob=one["logprob"],
            top=tuple(
                (top["token"], _bytes(top), top["logprob"]) for top in one.get("top_logprobs") or ()
            ),
        )
        for one in found.get("content") or ()
    )


def _text_logprobs(found: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    tokens = found.get("tokens") or ()
    tops = found.get("top_logprobs") or [{}] * len(tokens)
    return tuple(
        TokenLogprob(
            token=token,
            token_bytes=token.encode(),
            logprob=-math.inf if value is None else value,
            top=tuple(
                sorted(
                    ((text, text.encode(), likely) for text, likely in (top or {}).items()),
                    key=lambda item: -item[2],
                )
            ),
        )
        for token, value, top in zip(tokens, found.get("token_logprobs") or (), tops, strict=False)
    )


def _bytes(one: Mapping[str, Any]) -> bytes:
    return bytes(one["bytes"]) if one.get("bytes") is not None else str(one["token"]).encode()
