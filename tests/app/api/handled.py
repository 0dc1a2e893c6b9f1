"""The embedded engine on a tiny base, with a hand on its steps: slowed, held, made to fail."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from copydesk.models import BaseStore, load_base
from copydesk.records import EngineState, Generate, Job, Piece
from copydesk.serve import EngineSettings, start_engine

CPU = torch.device("cpu")


class Handled:
    """A `records.Engine`. While `hold` is not set it does nothing, not even end what is late."""

    def __init__(self, base: Path, *, step_seconds: float = 0.0, **settings: Any) -> None:
        self.info = BaseStore(base.parent / "cache").find(str(base))
        self.step_seconds = step_seconds
        self.steps = 0
        self.hold = threading.Event()
        self.hold.set()
        self._dies = False
        loaded = load_base(self.info, device=CPU, dtype=torch.float32)
        self.engine = start_engine(loaded, EngineSettings(**({"max_running": 4} | settings)))
        batch: Any = self.engine._batch
        self._step = batch.step
        batch.step = self._handled_step

    def submit(
        self,
        request: Generate,
        on_piece: Callable[[Piece], None] | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> Job:
        return self.engine.submit(request, on_piece, on_end)

    def state(self) -> EngineState:
        return self.engine.state()

    @property
    def busy(self) -> int:
        """Requests under way."""
        state = self.state()
        return state.running + state.waiting

    def stop(self, drain_seconds: float = 0.0) -> None:
        self.hold.set()
        self.engine.stop(drain_seconds)

    def die(self) -> None:
        """Fail in the next step, as a fault in a product would."""
        self._dies = True

    def _handled_step(self) -> None:
        self.hold.wait()
        if self._dies:
            raise RuntimeError("made to fail")
        time.sleep(self.step_seconds)
        self.steps += 1
        self._step()
