"""Answers that are checked after they were sent, so that a canary is judged by what it says too."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from copydesk.app.api._front import Ended
from copydesk.app.api._visits import LOG, say
from copydesk.desk import AnswerChecks
from copydesk.errors import CopydeskError

_MOST = 64
"""Answers that wait to be checked; what comes then counts unchecked, whoever gave it."""
Told = Callable[[Ended, str], None]
"""Hears how a request ended, and `clean`, `findings` or `unchecked`."""


class Inspector:
    """Checks answers one after another, on a thread of its own; called from the event loop."""

    def __init__(self, root: Path, on_checked: Told, *, most: int = _MOST) -> None:
        """Take the workspace's folder and who is to hear what was found, on the event loop."""
        self._checks = AnswerChecks(root)
        self._on_checked = on_checked
        self._most = most
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="copydesk-check")

    def offer(self, ended: Ended, texts: Sequence[str]) -> None:
        """Have an answer checked, and hand on how its request ended."""
        if self._waiting >= self._most:
            self._on_checked(ended, "unchecked")
            return
        self._waiting += 1
        loop = asyncio.get_running_loop()
        checking = loop.run_in_executor(self._thread, self._check, ended, tuple(texts))
        checking.add_done_callback(self._done)

    def close(self) -> None:
        """Check no more; what waits is let go."""
        self._thread.shutdown(cancel_futures=True)

    def _check(self, ended: Ended, texts: tuple[str, ...]) -> tuple[Ended, str]:
        try:
            rules = self._checks.wrong(ended.client, texts)
        except CopydeskError as error:
            say(
                "answer_not_checked",
                level=logging.WARNING,
                client=ended.client,
                problem=str(error),
            )
            return ended, "unchecked"
        except Exception:  # noqa: BLE001 - checks may be anybody's; an outcome is not lost by one
            LOG.exception("a check failed", extra={"facts": {"client": ended.client}})
            return ended, "unchecked"
        if rules is None:
            return ended, "unchecked"
        if not rules:
            return ended, "clean"
        say("findings", client=ended.client, number=ended.number, rules=rules)
        return dataclasses.replace(ended, findings=True), "findings"

    def _done(self, checking: "asyncio.Future[tuple[Ended, str]]") -> None:
        self._waiting -= 1
        if not checking.cancelled():
            self._on_checked(*checking.result())
