"""A writer of drafts that asks a running engine, in turn with everybody else."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from copydesk.errors import Cancelled
from copydesk.records import (
    AdapterRef,
    Completion,
    Engine,
    Generate,
    Job,
    Message,
    Piece,
    Sampling,
)


@dataclass(slots=True, kw_only=True)
class EngineWriter:
    """A `records.Completer` over an engine; `stop` may be called from any thread."""

    engine: Engine
    adapter: AdapterRef
    share: str
    """The client, whose turn it counts as."""
    request_id: str = ""
    deadline_seconds: float | None = None
    """Of each text."""
    prompt_tokens: int = 0
    """Read so far."""
    tokens: int = 0
    """Written so far."""
    _job: Job | None = None
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """`client@n`."""
        return self.adapter.name

    def complete(
        self,
        messages: tuple[Message, ...],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Continue the chat.

        Raises:
            CopydeskError: as the engine's job; `Cancelled` after `stop`.
        """

        def tell(piece: Piece) -> None:
            if on_text is not None:
                on_text(piece.text)

        request = Generate(
            prompt=messages,
            adapter=self.adapter,
            sampling=sampling,
            share=self.share,
            request_id=self.request_id,
            deadline_seconds=self.deadline_seconds,
        )
        with self._lock:
            if self._stopped:
                raise Cancelled("The request was given up")
            self._job = job = self.engine.submit(request, tell)
        found = job.result()
        self.prompt_tokens += found.prompt_tokens
        self.tokens += found.completion.tokens
        return found.completion

    def stop(self) -> None:
        """End the text that is being written, and begin no other."""
        with self._lock:
            self._stopped = True
            if self._job is not None:
                self._job.cancel()
