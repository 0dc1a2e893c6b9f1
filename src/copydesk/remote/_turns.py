"""Whose turn it is: a bounded number at once, and clients one after another."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Turns:
    """Lets so many in at once. Of those that wait, one of the share with the fewest inside is next.

    It belongs to one event loop.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._inside: defaultdict[str, int] = defaultdict(int)
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def inside(self) -> int:
        """How many are in."""
        return sum(self._inside.values())

    @property
    def waiting(self) -> int:
        """How many are not."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, share: str) -> AsyncGenerator[None]:
        """Wait for a turn and hold it for the length of the block."""
        if self._free:
            self._enter(share)
        else:
            await self._wait(share)
        try:
            yield
        finally:
            self._leave(share)

    async def _wait(self, share: str) -> None:
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(share, deque()).append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():  # it was let in while it gave up
                self._leave(share)
            else:
                self._forget(share, ticket)
            raise

    def _enter(self, share: str) -> None:
        self._free -= 1
        self._inside[share] += 1

    def _leave(self, share: str) -> None:
        self._free += 1
        self._inside[share] -= 1
        if not self._inside[share]:
            del self._inside[share]
        if not self._waiting:
            return
        # The first of the least served shares: dicts keep the order in which shares came to wait.
        chosen = min(self._waiting, key=lambda name: self._inside.get(name, 0))
        ticket = self._waiting[chosen].popleft()
        others = self._waiting.pop(chosen)
        if others:
            self._waiting[chosen] = others
        self._enter(chosen)
        ticket.set_result(None)

    def _forget(self, share: str, ticket: asyncio.Future[None]) -> None:
        tickets = self._waiting.get(share)
        if tickets and ticket in tickets:
            tickets.remove(ticket)
            if not tickets:
                del self._waiting[share]
