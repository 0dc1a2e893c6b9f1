"""What keys have left: requests of this minute, tokens of this month."""

import time
from collections import defaultdict, deque
from collections.abc import Callable

from copydesk.app.api._problems import NO_RETRY, Problem
from copydesk.desk import Key

_MINUTE = 60.0


class Allowance:
    """Counts for each key what this process answers; it belongs to the event loop's thread.

    Rates are kept in this process alone. Tokens are in the catalogue; what is not written there
    yet, and what requests under way may still use, is added here, so that requests side by side do
    not pass a quota that each alone would keep. Prompts are counted when they are known, after
    they were taken: a quota can be overrun by the prompts of what runs at once, and no further.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: dict[str, deque[float]] = {}
        self._held: defaultdict[str, int] = defaultdict(int)
        self._unwritten: defaultdict[str, list[int]] = defaultdict(list)
        self._writing: dict[str, list[int]] = {}

    def admit(self, key: Key | None, tokens: int) -> None:
        """Take a request that may make so many tokens; `settle` ends it.

        Raises:
            Problem: 429, because the rate or the quota is used up.
        """
        if key is None:
            return
        if key.quota is not None and self._used(key) + tokens > key.quota:
            raise Problem(
                status=429,
                message="The key's quota of tokens for this month does not suffice",
                code="insufficient_quota",
                headers=NO_RETRY,
            )
        if key.rate is not None:
            self._keep_rate(key.id, key.rate)
        self._held[key.id] += tokens

    def settle(self, key: Key | None, *, held: int, used: int) -> None:
        """End a request: give back what it might have used, and count what it did use."""
        if key is None:
            return
        self._held[key.id] -= held
        self._unwritten[key.id].append(used)

    def to_write(self) -> dict[str, list[int]]:
        """Tokens of each request that is not in the catalogue yet, by key; then call `written`."""
        for ident, each in self._unwritten.items():
            self._writing.setdefault(ident, []).extend(each)
        self._unwritten.clear()
        for ident in [ident for ident, held in self._held.items() if not held]:
            del self._held[ident]
        return self._writing

    def written(self) -> None:
        """What `to_write` gave is in the catalogue."""
        self._writing = {}

    def _used(self, key: Key) -> int:
        waiting = [*self._unwritten.get(key.id, ()), *self._writing.get(key.id, ())]
        return key.tokens + sum(waiting) + self._held[key.id]

    def _keep_rate(self, ident: str, rate: int) -> None:
        now = self._clock()
        asked = self._asked.setdefault(ident, deque())
        while asked and asked[0] <= now - _MINUTE:
            asked.popleft()
        if len(asked) >= rate:
            wait = asked[len(asked) - rate] + _MINUTE - now
            raise Problem(
                status=429,
                message=f"The key's rate of {rate} requests a minute is used up",
                code="rate_limit_exceeded",
                headers={"retry-after": str(max(1, int(wait) + 1))},
            )
        asked.append(now)
