"""Start an engine: which forward runs a base, and how much it may hold."""

import sys
from typing import Any

from copydesk.models import Base
from copydesk.serve._engine import LocalEngine
from copydesk.serve._generic import GenericRunner
from copydesk.serve._runner import Runner
from copydesk.serve._settings import EngineSettings

_LONGEST = 4096
"""Positions of a slot where nothing is said: longer windows cost memory that few texts use."""


def start_engine(base: Base, settings: EngineSettings | None = None) -> LocalEngine:
    """An engine that runs in this process, on a thread of its own.

    Args:
        base: loaded for generation (without packed attention). The engine takes it over: nobody
            else may run it while the engine lives.
        settings: limits and choices; the defaults suit a small machine.

    Raises:
        InvalidInput: a limit makes no sense, or the base cannot be held as is asked.
    """
    settings = settings or EngineSettings()
    engine = LocalEngine(base, _runner(base, settings), settings)
    engine.start()
    return engine


def _runner(base: Base, settings: EngineSettings) -> Runner:
    config: Any = base.model.config.get_text_config()
    window = int(getattr(config, "max_position_embeddings", None) or sys.maxsize)
    length = min(window, settings.max_length or _LONGEST)
    return GenericRunner(base, slots=settings.max_running, length=length)
