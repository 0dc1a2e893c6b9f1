"""Continuations of one request: submitted to the engine, heard on the event loop."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from copydesk.app.api._gate import Gone
from copydesk.errors import Cancelled, CopydeskError, EngineDown
from copydesk.records import Engine, Generate, Generated, Job, Piece

_T = TypeVar("_T")
_RESULT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened to one of the continuations."""

    index: int
    piece: Piece | None = None
    end: Generated | CopydeskError | None = None


class Running:
    """Continuations side by side; leaving the `async with` cancels those that have not ended.

    The engine calls back on its own thread. What it says is put in a row, and the event loop is
    woken once for all that came since it last looked.
    """

    def __init__(self, engine: Engine, requests: Sequence[Generate], *, pieces: bool) -> None:
        """Nothing is submitted before `async with`.

        Args:
            engine: what continues.
            requests: one for each answer.
            pieces: whether pieces are wanted, or ends alone.
        """
        self._engine = engine
        self._requests = requests
        self._pieces = pieces
        self._jobs: list[Job] = []
        self._row: deque[Event] = deque()
        self._news = asyncio.Event()
        self._woken = False
        self._left = False
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> "Running":
        """Submit all.

        Raises:
            CopydeskError: one was refused; those before it are cancelled.
        """
        try:
            # Rendering and tokenising a long prompt takes long enough to hold up other streams.
            await asyncio.to_thread(self._submit)
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens until all have ended."""
        waiting = len(self._requests)
        while waiting:
            await self._news.wait()
            self._news.clear()
            while self._row:
                event = self._row.popleft()
                waiting -= event.end is not None
                yield event

    def _submit(self) -> None:
        for index, request in enumerate(self._requests):
            job = self._engine.submit(
                request,
                self._on_piece(index) if self._pieces else None,
                self._on_end(index),
            )
            self._jobs.append(job)
            if self._left:  # given up while this thread submitted
                job.cancel()
                return

    def cancel(self) -> None:
        """End all that have not ended; they end as `Cancelled`."""
        for job in list(self._jobs):
            job.cancel()

    def _leave(self) -> None:
        self._left = True
        self.cancel()

    def _on_piece(self, index: int) -> Callable[[Piece], None]:
        return lambda piece: self._tell(Event(index=index, piece=piece))

    def _on_end(self, index: int) -> Callable[[Job], None]:
        def ended(job: Job) -> None:
            try:
                end: Generated | CopydeskError = job.result(_RESULT_SECONDS)
            except CopydeskError as error:
                end = error
            except TimeoutError:
                end = EngineDown("The engine ended an answer without saying how")
            self._tell(Event(index=index, end=end))

        return ended

    def _tell(self, event: Event) -> None:
        self._row.append(event)
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._woken = False
        self._news.set()


async def unless_gone(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    work: Awaitable[_T],
    *,
    seconds: float,
) -> _T:
    """Do the work while the one who asked is there.

    Raises:
        Gone: the connection was closed first; the work is cancelled.
        Cancelled: it was not done in time, and the engine did not end it either.
    """
    doing = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait(
            (doing, watching),
            timeout=seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if doing.done():
            return await doing
        if watching.done():
            raise Gone
        raise Cancelled("The engine did not answer in time")
    finally:
        for task in (doing, watching):
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _until_gone(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
