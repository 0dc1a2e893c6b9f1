"""An engine that is started again when it is down."""

import threading
import time
from collections.abc import Callable
from typing import Literal

from copydesk.errors import CopydeskError, EngineDown
from copydesk.records import Engine, EngineState, Generate, Job, Piece

Event = Literal["engine_down", "engine_started", "engine_failed"]
_LOOK_SECONDS = 0.5
_PAUSES = (0.0, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before each attempt to start; the last for all that follow."""
_SETTLED_SECONDS = 120.0
"""An engine that ran for so long was well: its end begins the pauses anew."""


class Supervised:
    """A `records.Engine` that stands before another and replaces it when it goes down.

    While there is none, `submit` raises `EngineDown` and `state` says `down`. What ran on an
    engine that went down is ended by that engine, as `EngineDown`.
    """

    def __init__(
        self,
        start: Callable[[Engine | None], Engine],
        *,
        on_event: Callable[[Event, str], None] = lambda _event, _why: None,
        look_seconds: float = _LOOK_SECONDS,
        pauses: tuple[float, ...] = _PAUSES,
    ) -> None:
        """Start the first engine; its errors are the caller's.

        Args:
            start: makes an engine that is ready; given the one before, which is down, or None. It
                frees what that one holds, or brings it up again.
            on_event: told what happens, and why.
            look_seconds: between looks at its state.
            pauses: before each attempt in a row.
        """
        self._start = start
        self._on_event = on_event
        self._look_seconds = look_seconds
        self._pauses = pauses
        self._engine: Engine | None = start(None)
        self._restarts = 0
        self._ending = threading.Event()
        self._look = threading.Event()
        self._watcher = threading.Thread(
            target=self._watch, name="copydesk-supervisor", daemon=True
        )
        self._watcher.start()

    def submit(
        self,
        request: Generate,
        on_piece: Callable[[Piece], None] | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> Job:
        """See `records.Engine.submit`."""
        engine = self._engine
        if engine is None or self._ending.is_set():
            raise EngineDown("The engine is being started again", todo="Come back in a moment.")
        try:
            return engine.submit(request, on_piece, on_end)
        except EngineDown:
            self._look.set()
            raise

    def state(self) -> EngineState:
        """See `records.Engine.state`; `restarts_total` is among the figures."""
        engine = self._engine
        if engine is None:
            figures = {"restarts_total": float(self._restarts)}
            return EngineState(status="down", running=0, waiting=0, figures=figures)
        found = engine.state()
        return EngineState(
            status=found.status,
            running=found.running,
            waiting=found.waiting,
            figures={**found.figures, "restarts_total": float(self._restarts)},
        )

    def stop(self, drain_seconds: float = 0.0) -> None:
        """See `records.Engine.stop`; no engine is started from now on."""
        self._ending.set()
        self._look.set()
        engine = self._engine
        if engine is not None:
            engine.stop(drain_seconds)
        self._watcher.join()
        if self._engine is not None and self._engine is not engine:
            self._engine.stop()  # it came up while the watcher was told to end

    def _watch(self) -> None:
        attempts, started = 0, time.monotonic()
        before: Engine | None = None
        while not self._ending.is_set():
            self._look.wait(self._look_seconds)
            self._look.clear()
            engine = self._engine
            if self._ending.is_set() or (engine and engine.state().status != "down"):
                continue
            if engine is not None:
                self._on_event("engine_down", "it stopped by itself")
                if time.monotonic() - started > _SETTLED_SECONDS:
                    attempts = 0
                self._engine, before = None, engine
            if self._ending.wait(self._pauses[min(attempts, len(self._pauses) - 1)]):
                return
            attempts += 1
            if self._revive(before):
                started, before = time.monotonic(), None
            else:
                self._look.set()

    def _revive(self, before: Engine | None) -> bool:
        try:
            self._engine = self._start(before)
        except CopydeskError as error:
            self._on_event("engine_failed", str(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt comes
            self._on_event("engine_failed", f"{type(error).__name__}: {error}")
            return False
        self._restarts += 1
        self._on_event("engine_started", "")
        return True
