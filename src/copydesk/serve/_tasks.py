"""A request on its way through the engine: what the caller holds, and what the engine knows."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from copydesk.errors import Cancelled, CopydeskError
from copydesk.records import Completion, Generate, Generated, Job, Piece
from copydesk.serve._drawing import Drawer
from copydesk.serve._shelf import Lease
from copydesk.serve._text import TextStream

_LOG = logging.getLogger(__name__)


class Task:
    """A job: made by `submit`, worked on by the engine's thread, awaited by anybody."""

    def __init__(
        self,
        request: Generate,
        prompt: list[int],
        *,
        limit: int,
        on_piece: Callable[[Piece], None] | None,
        on_end: Callable[[Job], None] | None,
        wake: Callable[[], None],
    ) -> None:
        self.request = request
        self.prompt = prompt
        """Token ids, without virtual tokens."""
        self.limit = limit
        """New tokens at most."""
        self.submitted = time.monotonic()
        self.lease: Lease | None = None
        self.charged = 0
        """Tokens that its share was charged for."""
        self.cancelled = False
        self._on_piece = on_piece
        self._on_end = on_end
        self._wake = wake
        self._done = threading.Event()
        self._result: Generated | None = None
        self._error: CopydeskError | None = None

    @property
    def done(self) -> bool:
        return self._done.is_set()

    @property
    def digest(self) -> str:
        """Of its adapter; empty without one."""
        return self.request.adapter.digest if self.request.adapter else ""

    @property
    def late(self) -> bool:
        """Its deadline has passed."""
        limit = self.request.deadline_seconds
        return limit is not None and time.monotonic() - self.submitted > limit

    def cancel(self) -> None:
        """End it at the next step; harmless when it has ended."""
        self.cancelled = True
        self._wake()

    def result(self, timeout: float | None = None) -> Generated:
        """Wait for its end; see `records.Job`."""
        if not self._done.wait(timeout):
            raise TimeoutError(f"The request is not done after {timeout} seconds")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def show(self, piece: Piece) -> None:
        """Hand a piece on; called on the engine's thread."""
        if self._on_piece is not None and (piece.text or piece.logprobs):
            self._on_piece(piece)

    def end(self, result: Generated | CopydeskError) -> None:
        """Answer, once; a second answer is passed over."""
        if self._done.is_set():
            return
        if isinstance(result, CopydeskError):
            self._error = result
        else:
            self._result = result
        if self.lease is not None:
            self.lease.release()
            self.lease = None
        self._done.set()
        if self._on_end is not None:
            try:
                self._on_end(self)
            except Exception:  # noqa: BLE001 - a listener's fault must not end the others' texts
                _LOG.exception("a listener failed at the end of its request")

    def reason_to_end(self) -> Cancelled | None:
        """Why it should end now, if it should."""
        if self.cancelled:
            return Cancelled("The request was cancelled")
        if self.late:
            return Cancelled(
                f"The request was not done within {self.request.deadline_seconds:g} seconds",
                todo="Ask for fewer tokens, or allow more time.",
            )
        return None


@dataclass(slots=True, kw_only=True)
class Running:
    """A task that has a slot."""

    task: Task
    digest: str
    """Of what its keys and values follow from, beside base and tokens."""
    slot: int
    ids: list[int]
    """Virtual tokens, prompt and new tokens."""
    prompt_length: int
    """Of them, how many are not new."""
    filled: int
    """Positions that the adapter's prefix takes."""
    at: int
    """Of `ids`, how many the slot holds."""
    cached: int
    """Of the prompt, how many came from the cache of prefixes."""
    drawer: Drawer
    text: TextStream
    started: float
    first: float | None = None
    """When the first token came."""
    held: list["tuple[int, float, tuple[tuple[int, float], ...]]"] = field(default_factory=list)
    """Log-probabilities of tokens whose text was not shown yet."""

    @property
    def new(self) -> int:
        return len(self.ids) - self.prompt_length

    @property
    def prefilling(self) -> bool:
        """More than the newest token is still to be run."""
        return self.at < self.prompt_length

    def result(self, reason: Literal["stop", "length"]) -> Generated:
        """What the caller gets."""
        task = self.task
        return Generated(
            completion=Completion(text=self.text.text, tokens=self.new, finish_reason=reason),
            prompt_tokens=len(task.prompt),
            cached_tokens=self.cached,
            queued_seconds=self.started - task.submitted,
            first_token_seconds=(self.first or time.monotonic()) - task.submitted,
        )
