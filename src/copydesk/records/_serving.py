"""What is asked of a generation engine, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from copydesk.records._drafts import Completion, Sampling
from copydesk.records._texts import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRef:
    """An adapter of the registry: only this names one to an engine, never a path of a request."""

    name: str
    """`client@n`."""
    path: Path
    """Its folder in PEFT's format."""
    digest: str
    """Of its artifact; caches are keyed by it, never by the name."""
    base_digest: str
    """Of the base that it is bound to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """One continuation that is wanted."""

    prompt: tuple[Message, ...] | str
    """A chat, through the base's template; or text to continue as it is."""
    adapter: AdapterRef | None
    """None is the plain base, which a caller must ask for by name."""
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    """Strings that end the text; they are not part of it."""
    logprobs: int | None = None
    """How many alternatives to report at each token; 0 reports the chosen token alone."""
    json_schema: Mapping[str, Any] | None = None
    """The text must be JSON that is valid by this schema; `{}` is any JSON."""
    share: str = ""
    """Whose turn it counts as where the engine is fair: the client."""
    request_id: str = ""
    deadline_seconds: float | None = None
    """From submission; what is not done by then is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """A token that was drawn, and what it was drawn from."""

    token: str
    token_bytes: bytes
    logprob: float
    """Natural logarithm, before temperature."""
    top: tuple[tuple[str, bytes, float], ...] = ()
    """The likeliest tokens, best first: text, bytes and logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """New text of a continuation; never a part of a character or of a stop string."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """How a continuation ended."""

    completion: Completion
    prompt_tokens: int
    cached_tokens: int
    """Of the prompt, how many were taken from the cache of prefixes."""
    queued_seconds: float
    first_token_seconds: float
    """From submission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """What an engine is doing now."""

    status: Literal["ready", "draining", "down"]
    running: int
    waiting: int
    figures: Mapping[str, float]
    """Counters and gauges, by the names under which they are shown."""


class Job(Protocol):
    """A continuation under way."""

    def cancel(self) -> None:
        """End it at the next step; harmless when it has ended."""
        ...

    def result(self, timeout: float | None = None) -> Generated:
        """Wait for its end.

        Raises:
            CopydeskError: why it did not end well: `Cancelled`, `InvalidInput`, `EngineDown`, ...
            TimeoutError: it is not done after `timeout` seconds.
        """
        ...


class Engine(Protocol):
    """Continues texts for many clients at once. All methods may be called from any thread."""

    def submit(
        self,
        request: Generate,
        on_piece: Callable[[Piece], None] | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> Job:
        """Queue a continuation; returns at once.

        The callbacks are called on the engine's thread and must return quickly.

        Raises:
            Busy: the queue is full; says when to come again.
            InvalidInput: the prompt leaves no room for an answer, or a limit is passed.
            EngineDown: the engine has stopped.
        """
        ...

    def state(self) -> EngineState:
        """What it is doing now."""
        ...

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Take no more; finish what runs within that time, cancel the rest, free the memory."""
        ...
