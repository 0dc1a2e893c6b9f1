"""One request as the log and the metrics see it, and the log: JSON, a line an event."""

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from copydesk.desk import Key

LOG = logging.getLogger("copydesk.serve")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
GONE = 499
"""The status of a request whose sender went away; nginx's, as the standard has none."""


@dataclass(slots=True, kw_only=True)
class Visit:
    """What is known of a request so far. Routes fill it in; the gate logs it."""

    request_id: str
    method: str
    path: str
    arrived: float = field(default_factory=time.monotonic)
    key: Key | None = None
    status: int = 0
    started: bool = False
    """Whether the head of an answer was sent."""
    ended: bool = False
    """Whether its last byte was."""
    route: str = ""
    model: str = ""
    client: str = ""
    choices: int = 0
    stream: bool = False
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queued_seconds: float | None = None
    first_token_seconds: float | None = None
    finish: tuple[str, ...] = ()
    problem: str = ""
    cancel: Callable[[], None] | None = None
    """Ends it, while the engine works for it."""
    text: dict[str, Any] | None = None
    """Prompts and answers, where the log was asked to keep them."""

    @property
    def seconds(self) -> float:
        """Since it arrived."""
        return time.monotonic() - self.arrived

    def facts(self) -> dict[str, Any]:
        """The line of the log; no word of a prompt unless `text` was filled."""
        key = self.key.id if self.key else None
        line: dict[str, Any] = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "seconds": round(self.seconds, 6),
            "key": key,
        }
        if self.route:
            line |= {
                "model": self.model,
                "client": self.client,
                "choices": self.choices,
                "stream": self.stream,
                "prompt_tokens": self.prompt_tokens,
                "cached_tokens": self.cached_tokens,
                "completion_tokens": self.completion_tokens,
                "queued_seconds": self.queued_seconds,
                "first_token_seconds": self.first_token_seconds,
                "finish": list(self.finish),
            }
        if self.problem:
            line["problem"] = self.problem
        if self.text is not None:
            line["text"] = self.text
        return line


def request_id(given: str | None) -> str:
    """The caller's own id where it is one that can be logged, else a new one."""
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"req-{uuid.uuid4().hex}"


def say(event: str, /, *, level: int = logging.INFO, **facts: Any) -> None:
    """Log an event with its facts."""
    LOG.log(level, event, extra={"facts": facts})


class JsonLines(logging.Formatter):
    """A record as one line of JSON in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, event, and the facts that came with it."""
        facts: Mapping[str, Any] = getattr(record, "facts", {})
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **facts,
        }
        if record.name != LOG.name:
            line["logger"] = record.name
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to(stream: TextIO = sys.stderr) -> None:
    """Send this process's log to a stream as lines of JSON: ours, and warnings of what we use."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOG.setLevel(logging.INFO)
    logging.getLogger("copydesk").setLevel(logging.INFO)
