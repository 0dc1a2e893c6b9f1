"""Progress of long work: bars with time left on a terminal, plain lines elsewhere."""

import contextlib
import signal
import threading
import time
from collections.abc import Generator
from types import FrameType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bars,
)

from copydesk.app._output import duration, err, size
from copydesk.records import Progress

_LINE_SECONDS = 15.0


class ProgressView:
    """A listener for long work. Use it in a `with`."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._last_line = 0.0

    def __enter__(self) -> "ProgressView":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, event: Progress) -> None:
        """Show an event."""
        self._started.setdefault(event.task, (time.monotonic(), event.done))
        if err.is_terminal:
            self._draw(event)
        else:
            self._print(event)

    def _draw(self, event: Progress) -> None:
        if event.task not in self._tasks:
            self._tasks[event.task] = self._bars.add_task(
                event.task, total=event.total, figures="", left=""
            )
        self._bars.update(
            self._tasks[event.task],
            completed=event.done,
            total=event.total,
            figures=_figures(event),
            left=self._left(event),
        )

    def _print(self, event: Progress) -> None:
        now = time.monotonic()
        if event.done < event.total and now - self._last_line < _LINE_SECONDS:
            return
        self._last_line = now
        parts = [f"{event.done}/{event.total} {event.unit}", _figures(event), self._left(event)]
        err.print(
            f"{event.task}: {', '.join(part for part in parts if part)}",
            markup=False,
            soft_wrap=True,
        )

    def _left(self, event: Progress) -> str:
        """Time left: as the work itself reckons, else by the pace since its first event."""
        if event.done >= event.total:
            return ""
        left = event.values.get("seconds_left")
        if left is None:
            start, first = self._started[event.task]
            if event.done == first:
                return ""
            pace = (time.monotonic() - start) / (event.done - first)
            left = pace * (event.total - event.done)
        return f"{duration(left)} left"


def _figures(event: Progress) -> str:
    parts: list[str] = []
    if "loss" in event.values:
        parts.append(f"loss {event.values['loss']:.3f}")
    if "tokens_per_second" in event.values:
        parts.append(f"{event.values['tokens_per_second']:.0f} tokens/s")
    if "memory_bytes" in event.values:
        parts.append(size(round(event.values["memory_bytes"])))
    return ", ".join(parts)


class StopRequest:
    """Whether Ctrl-C was pressed. The first press asks; the second interrupts at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """True once asked."""
        return self._asked.is_set()

    @contextlib.contextmanager
    def listening(self) -> Generator["StopRequest"]:
        """Take over Ctrl-C for the length of the block."""

        def ask(_signal: int, _frame: FrameType | None) -> None:
            if self._asked.is_set():
                raise KeyboardInterrupt
            self._asked.set()
            err.print("Stopping after this step; what is done so far is kept. Again: stop at once.")

        previous = signal.signal(signal.SIGINT, ask)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, previous)
