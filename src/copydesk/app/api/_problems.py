"""What goes wrong, in the shape and with the codes that OpenAI's clients know."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from copydesk.errors import (
    Busy,
    Cancelled,
    CopydeskError,
    EngineDown,
    InvalidInput,
    UnknownName,
    WrongBase,
)

_LONGEST = 500
_RESTART_SECONDS = 5
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
NO_RETRY = {"x-should-retry": "false"}
"""OpenAI's clients try most errors again by themselves unless they are told not to."""


@dataclass(slots=True, kw_only=True)
class Problem(Exception):
    """An answer other than the one that was asked for."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def body(self) -> dict[str, object]:
        """`{"error": {...}}`."""
        kind = _TYPES.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        return {
            "error": {
                "message": _printable(self.message),
                "type": kind,
                "param": _printable(self.param) if self.param else None,
                "code": self.code,
            }
        }

    def response(self) -> Response:
        """The whole answer."""
        return json_response(self.body(), status=self.status, headers=self.headers)


def json_response(
    content: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON in ASCII, so that no lone surrogate in a model's or a caller's text can break it."""
    return Response(
        json.dumps(content, allow_nan=False, separators=(",", ":")),
        status_code=status,
        media_type="application/json",
        headers=dict(headers or {}),
    )


def problem_of(error: CopydeskError, *, late: bool = False) -> Problem:
    """The answer for one of our errors. Paths, which `where` may hold, are not told.

    Args:
        error: what happened.
        late: whether the request's time is up, which tells a deadline from other cancellations.
    """
    told = f"{error.what.rstrip('.')}. {error.todo or ''}".strip()
    if isinstance(error, Busy):
        wait = {"retry-after": str(max(1, math.ceil(error.retry_seconds)))}
        return Problem(status=429, message=told, code="engine_overloaded", headers=wait)
    if isinstance(error, EngineDown):
        wait = {"retry-after": str(_RESTART_SECONDS)}
        return Problem(status=503, message=told, code="engine_down", headers=wait)
    if isinstance(error, Cancelled):
        if late:
            message = "The answer was not finished within the time of a request"
            return Problem(status=504, message=message, code="timeout", headers=NO_RETRY)
        return Problem(status=503, message=told, code="cancelled")
    if isinstance(error, UnknownName):
        return Problem(status=404, message=error.what, code="model_not_found", param="model")
    if isinstance(error, WrongBase):
        return Problem(status=400, message=told, code="model_not_servable", param="model")
    if isinstance(error, InvalidInput):
        return Problem(status=400, message=told, code="invalid_value")
    message = "The server could not do this; its log says why"
    return Problem(status=503, message=message, code="unavailable", headers=NO_RETRY)


def problem_of_fields(error: RequestValidationError) -> Problem:
    """All that is wrong with a body, without a word of what it held."""
    issues = error.errors()
    told: list[str] = []
    for issue in issues[:8]:
        place = _place(issue["loc"])
        if issue["type"] == "extra_forbidden":
            told.append(f"{place}: this parameter is not supported")
        elif issue["type"] == "json_invalid":
            told.append("The body is not JSON")
        else:
            told.append(f"{place}: {issue['msg']}" if place else str(issue["msg"]))
    first = issues[0]
    unsupported = first["type"] in {"extra_forbidden", "unsupported"}
    return Problem(
        status=400,
        message="; ".join(told),
        code="unsupported_parameter" if unsupported else "invalid_value",
        param=_place(first["loc"]) or None,
    )


def _place(location: tuple[int | str, ...]) -> str:
    """`messages.0.content` of pydantic's location, which starts with `body`."""
    return ".".join(str(part) for part in location[1:])[:100]


def _printable(text: str) -> str:
    """What may stand in an answer: no control characters, no endless text."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
