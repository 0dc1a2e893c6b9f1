"""The catalogue, asked from the event loop: keys and models, in a thread of its own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from copydesk.desk import Key, Keys, Roster, ServedModel
from copydesk.store import Catalogue

_T = TypeVar("_T")


class Front:
    """Keys and models of a workspace. Each question reads the catalogue anew.

    SQLite's connections belong to a thread; this one has its own, so that a slow disk holds up no
    stream. A question takes less than a millisecond.
    """

    def __init__(
        self, open_catalogue: Callable[[], Catalogue], roster: Callable[[Catalogue], Roster]
    ) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="copydesk-catalogue")
        self._catalogue = self._thread.submit(open_catalogue).result()
        self._keys = Keys(self._catalogue)
        self._roster = roster(self._catalogue)

    async def find_key(self, secret: str | None) -> tuple[Key | None, bool]:
        """(the key, whether one is needed): needed as soon as one was ever made.

        A workspace whose keys are all revoked is not open again.
        """

        def look() -> tuple[Key | None, bool]:
            if secret is not None and (key := self._keys.find(secret)) is not None:
                return key, True
            return None, self._keys.ever_made()

        return await self._ask(look)

    async def find_model(self, key: Key | None, model: str) -> ServedModel:
        """See `Roster.find`."""
        return await self._ask(lambda: self._roster.find(key, model))

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

    def close(self) -> None:
        """Close the catalogue."""
        self._thread.submit(self._catalogue.close).result()
        self._thread.shutdown()

    async def _ask(self, question: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)
