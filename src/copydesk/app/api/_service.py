"""What the routes of one server share."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from copydesk.app.api._allowance import Allowance
from copydesk.app.api._front import Ended, Front
from copydesk.app.api._inspecting import Inspector
from copydesk.app.api._limits import Limits
from copydesk.app.api._metrics import Metrics
from copydesk.app.api._visits import Visit, say
from copydesk.errors import Busy, CopydeskError
from copydesk.records import Engine

_FLUSH_SECONDS = 1.0
_T = TypeVar("_T")


class Drafters:
    """Threads for drafts, which take as long as several answers: apart from those of other work."""

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._busy = 0
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="copydesk-draft")

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do the work on one of them.

        Raises:
            Busy: all are at work.
        """
        if self._busy >= self._most:
            raise Busy(f"{self._busy} drafts are being written", retry_seconds=10.0)
        self._busy += 1
        loop = asyncio.get_running_loop()
        started = self._threads.submit(work)
        # Its caller may leave before the thread does.
        started.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free))
        return await asyncio.wrap_future(started)

    def close(self) -> None:
        """Wait for what is being written; the engine has ended it."""
        self._threads.shutdown()

    def _free(self) -> None:
        self._busy -= 1


@dataclass(slots=True, kw_only=True)
class Service:
    """The engine, the catalogue's front and the counters behind the routes."""

    engine: Engine
    front: Front
    base_digest: str
    root: Path
    """The workspace."""
    limits: Limits = field(default_factory=Limits)
    log_text: bool = False
    """Whether prompts and answers are logged."""
    local: bool = True
    """Whether only this machine can reach it."""
    metrics: Metrics = field(init=False)
    inspector: Inspector = field(init=False)
    allowance: Allowance = field(default_factory=Allowance)
    draining: bool = False
    """Set when the server is to end: what runs goes on, nothing new is taken."""
    drafters: Drafters = field(default_factory=Drafters)
    ended: list[Ended] = field(default_factory=list[Ended])
    """Not told to canaries yet."""
    visits: dict[int, Visit] = field(default_factory=dict[int, Visit])
    """Requests under way."""

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.engine)
        self.inspector = Inspector(self.root, self._checked)

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return not self.draining and self.engine.state().status == "ready"

    async def keep_counting(self) -> None:
        """Write what keys used and canaries saw, once a second and when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_SECONDS)
                await self._write_use()
        finally:
            await asyncio.shield(self._write_use())

    def _checked(self, ended: Ended, found: str) -> None:
        self.metrics.checked(ended.client, found)
        self.ended.append(ended)

    async def _write_use(self) -> None:
        ended, self.ended = self.ended, []
        try:
            for client, action in await self.front.report(ended):
                say("canary", client=client, action=action)
            await self.front.write_use(self.allowance.to_write())
        except CopydeskError as error:  # it is kept, and written with the next
            say("use_not_written", problem=str(error))
        else:
            self.allowance.written()
