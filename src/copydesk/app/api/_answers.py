"""Answers in OpenAI's two shapes, whole and in chunks, from what the engine says."""

import hashlib
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from copydesk.desk import ServedModel
from copydesk.records import Generated, Piece, TokenLogprob

_UNLIKELY = -9999.0
"""Stands for minus infinity, as with OpenAI, because JSON has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What all parts of one answer carry."""

    id: str
    created: int
    model: str
    fingerprint: str

    def head(self, kind: str) -> dict[str, Any]:
        """The first keys of an answer or chunk."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def sign(prefix: str, model: ServedModel, base_digest: str) -> Signature:
    """A signature. Its fingerprint is the same as long as base and adapter are."""
    own = model.adapter.digest if model.adapter else ""
    digest = hashlib.sha256(f"{base_digest}:{own}".encode()).hexdigest()
    return Signature(
        id=f"{prefix}-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=model.name,
        fingerprint=f"fp_{digest[:12]}",
    )


class Style(Protocol):
    """One of the two shapes."""

    def whole(self, signature: Signature, answers: Sequence["Answer"]) -> dict[str, Any]:
        """The answer of a request that does not stream, without its usage."""
        ...

    def opening(self, index: int) -> dict[str, Any] | None:
        """The choice of a first chunk, where the shape has one."""
        ...

    def piece(self, index: int, piece: Piece, offset: int) -> dict[str, Any]:
        """The choice of a chunk with new text, which starts `offset` characters in."""
        ...

    def ending(self, index: int, finish: str) -> dict[str, Any]:
        """The choice of a last chunk."""
        ...

    @property
    def chunk_kind(self) -> str:
        """`object` of a chunk."""
        ...


@dataclass(slots=True, kw_only=True)
class Answer:
    """One continuation, as far as it has come."""

    text: str = ""
    pieces: int = 0
    """That it came in."""
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    generated: Generated | None = None

    @property
    def finish(self) -> str:
        """How it ended."""
        return self.generated.completion.finish_reason if self.generated else ""


def usage(answers: Sequence[Answer], *, per_prompt: int) -> dict[str, Any]:
    """Tokens used: each prompt counts once, and as cached what its first answer found so.

    Args:
        answers: in order; those of one prompt side by side.
        per_prompt: how many each prompt had.
    """
    ends = [answer.generated for answer in answers if answer.generated]
    firsts = [answer.generated for answer in answers[::per_prompt] if answer.generated]
    prompt = sum(end.prompt_tokens for end in firsts)
    made = sum(end.completion.tokens for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": sum(end.cached_tokens for end in firsts)},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStyle:
    """`/v1/chat/completions`."""

    logprobs: bool

    chunk_kind = "chat.completion.chunk"

    def whole(self, signature: Signature, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": self._logprobs(answer.logprobs),
                "finish_reason": answer.finish,
            }
            for index, answer in enumerate(answers)
        ]
        return signature.head("chat.completion") | {"choices": choices}

    def opening(self, index: int) -> dict[str, Any] | None:
        delta = {"role": "assistant", "content": "", "refusal": None}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def piece(self, index: int, piece: Piece, offset: int) -> dict[str, Any]:
        del offset
        return {
            "index": index,
            "delta": {"content": piece.text},
            "logprobs": self._logprobs(piece.logprobs),
            "finish_reason": None,
        }

    def ending(self, index: int, finish: str) -> dict[str, Any]:
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": finish}

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        content = [
            _likely(token.token, token.token_bytes, token.logprob)
            | {"top_logprobs": [_likely(*one) for one in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStyle:
    """`/v1/completions`."""

    logprobs: int | None

    chunk_kind = "text_completion"

    def whole(self, signature: Signature, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "text": answer.text,
                "logprobs": self._logprobs(answer.logprobs, 0),
                "finish_reason": answer.finish,
            }
            for index, answer in enumerate(answers)
        ]
        return signature.head("text_completion") | {"choices": choices}

    def opening(self, index: int) -> dict[str, Any] | None:
        del index

    def piece(self, index: int, piece: Piece, offset: int) -> dict[str, Any]:
        logprobs = self._logprobs(piece.logprobs, offset)
        return {"index": index, "text": piece.text, "logprobs": logprobs, "finish_reason": None}

    def ending(self, index: int, finish: str) -> dict[str, Any]:
        return {"index": index, "text": "", "logprobs": None, "finish_reason": finish}

    def _logprobs(self, tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any] | None:
        if self.logprobs is None:
            return None
        offsets: list[int] = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.token)
        tops = [{text: _finite(value) for text, _, value in token.top} for token in tokens]
        return {
            "tokens": [token.token for token in tokens],
            "token_logprobs": [_finite(token.logprob) for token in tokens],
            "top_logprobs": tops if self.logprobs else None,
            "text_offset": offsets,
        }


def _likely(token: str, token_bytes: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token, "bytes": list(token_bytes), "logprob": _finite(logprob)}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else _UNLIKELY


def model_entry(model: ServedModel) -> Mapping[str, Any]:
    """A model as `/v1/models` lists it."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.client or "copydesk",
    }
