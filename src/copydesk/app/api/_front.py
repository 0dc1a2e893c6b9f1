"""The catalogue, asked from the event loop: keys and models, in a thread of its own."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from copydesk.desk import Key, Roster, ServedModel, ServerKeys
from copydesk.errors import UnknownName
from copydesk.store import Catalogue

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a request ended whose version a canary may have drawn."""

    client: str
    number: int
    canary: int
    """The canary that ran when the version was drawn."""
    error: bool
    findings: bool = False
    """Whether the text had a finding that is an error."""


class Front:
    """Keys and models of a workspace. Each question reads the catalogue anew.

    SQLite's connections belong to a thread; this one has its own, so that a slow disk holds up no
    stream. A question takes less than a millisecond.
    """

    def __init__(
        self, open_catalogue: Callable[[], Catalogue], roster: Callable[[Catalogue], Roster]
    ) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="copydesk-catalogue")
        self._open_catalogue = open_catalogue
        self._make_roster = roster
        self._take(self._thread.submit(open_catalogue).result())

    async def find_key(self, secret: str | None) -> tuple[Key | None, bool]:
        """(the key, whether one is needed): needed as soon as one was ever made.

        A workspace whose keys are all revoked is not open again.
        """

        def look() -> tuple[Key | None, bool]:
            if secret is not None and (key := self._keys.find(secret)) is not None:
                return key, True
            return None, self._keys.ever_made()

        return await self._ask(look)

    async def find_model(self, key: Key | None, model: str, request_id: str = "") -> ServedModel:
        """See `Roster.find`."""
        return await self._ask(lambda: self._roster.find(key, model, request_id))

    async def models(self, key: Key | None) -> tuple[ServedModel, ...]:
        """See `Roster.models`."""
        return await self._ask(lambda: self._roster.models(key))

    async def write_use(self, tokens: Mapping[str, Sequence[int]]) -> None:
        """Add what keys have used."""

        def write() -> None:
            for ident, each in tokens.items():
                self._keys.count(ident, requests=len(each), tokens=sum(each))

        if tokens:
            await self._ask(write)

    async def report(self, ended: Sequence[Ended]) -> list[tuple[str, str]]:
        """Tell canaries how requests ended; (client, what followed) where something did."""

        def tell() -> list[tuple[str, str]]:
            followed: list[tuple[str, str]] = []
            for one in ended:
                with contextlib.suppress(UnknownName):  # it was deleted meanwhile
                    done = self._roster.report(
                        one.client,
                        one.number,
                        canary=one.canary,
                        findings=one.findings,
                        error=one.error,
                    )
                    if done is not None:
                        followed.append((one.client, done.action))
            return followed

        return await self._ask(tell) if ended else []

    def close(self) -> None:
        """Close the catalogue."""
        self._thread.submit(self._catalogue.close).result()
        self._thread.shutdown()

    def _take(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._keys = ServerKeys(catalogue)
        self._roster = self._make_roster(catalogue)

    async def _ask(self, question: Callable[[], _T]) -> _T:
        def answer() -> _T:
            if self._catalogue.replaced():  # it was lost and rebuilt while the server ran
                fresh = self._open_catalogue()
                self._catalogue.close()
                self._take(fresh)
            return question()

        return await asyncio.get_running_loop().run_in_executor(self._thread, answer)
