"""Server-sent events: chunks as they come, while somebody reads."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from copydesk.app.api._gate import Gone
from copydesk.app.api._limits import Limits
from copydesk.app.api._problems import Problem, problem_of
from copydesk.app.api._running import unless_gone
from copydesk.app.api._visits import GONE, Visit
from copydesk.errors import Cancelled, CopydeskError

DONE = b"data: [DONE]\n\n"
_SILENCE_SECONDS = 15.0
"""After so long without a token a comment is sent, so that proxies keep the connection."""
_COMMENT = b": still writing\n\n"


def event(content: dict[str, Any]) -> bytes:
    """One event with JSON."""
    return b"data: %s\n\n" % json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class EventStream(Response):
    """Sends what a generator yields. It ends with the sender's `[DONE]`, or with an error event.

    An error after the head cannot change the status any more; it is sent as OpenAI's clients expect
    it, as an event of its own, and `[DONE]` does not follow, so that no half text passes for a
    whole one.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[bytes], limits: Limits) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._chunks = chunks
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it. Where the reader went away, the generator is closed, and so the work."""
        visit: Visit = scope["state"]["visit"]
        limits = self._limits
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        try:
            try:
                seconds = limits.seconds + limits.grace_seconds - visit.seconds
                await unless_gone(receive, self._send_chunks(send), seconds=seconds)
            except CopydeskError as error:
                late = isinstance(error, Cancelled) and visit.seconds >= limits.seconds
                await self._send_problem(problem_of(error, late=late), visit, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Gone:
            visit.status = GONE
        finally:
            await self._chunks.aclose()

    async def _send_chunks(self, send: Send) -> None:
        pending = asyncio.ensure_future(anext(self._chunks, None))
        try:
            while True:
                done, _ = await asyncio.wait((pending,), timeout=_SILENCE_SECONDS)
                chunk = pending.result() if done else _COMMENT
                if chunk is None:
                    return
                await self._push(chunk, send)
                if done:
                    pending = asyncio.ensure_future(anext(self._chunks, None))
        finally:
            pending.cancel()
            await asyncio.wait((pending,))

    async def _push(self, chunk: bytes, send: Send) -> None:
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError as error:
            raise Cancelled("Its reader took nothing for too long") from error

    async def _send_problem(self, problem: Problem, visit: Visit, send: Send) -> None:
        visit.problem = problem.message
        await self._push(event(problem.body()), send)
