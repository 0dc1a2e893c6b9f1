"""Engines over a workspace's base: the embedded one, or a vLLM."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from copydesk.desk._models import workspace_base
from copydesk.desk._place import Place
from copydesk.desk._serving import Serving, VllmWish
from copydesk.desk._supervisor import Event, Supervised
from copydesk.errors import CopydeskError, InvalidInput
from copydesk.models import METHODS, BaseInfo, load_base, pick_device, pick_dtype
from copydesk.records import Engine
from copydesk.remote import OWN_MODEL, VllmSettings, find_vllm, reach_vllm, start_vllm

if TYPE_CHECKING:
    from copydesk.serve import LocalEngine

Told = Callable[[Event, str], None]
_AGAIN_SECONDS = 120.0
"""An engine that fails again within this time is loaded anew, not only started again."""


def serve_embedded(
    place: Place, settings: Mapping[str, Any], told: Told, *, dtype: str = "auto"
) -> Serving:
    """Start the embedded engine; `settings` are `serve.EngineSettings`'.

    Args:
        place: the workspace, whose base it runs.
        settings: limits and choices.
        told: hears when it goes down and comes up.
        dtype: of the base's weights: `auto`, `bfloat16` or `float32`. What is written does not
            depend on what is written beside it but for rounding, and bfloat16 rounds coarsely.

    Raises:
        UnknownName: the base is not here yet.
        InvalidInput: a setting makes no sense.
    """
    from copydesk.serve import EngineSettings

    info = workspace_base(place)
    try:
        chosen = EngineSettings(**settings)
    except TypeError as error:
        raise InvalidInput(f"The engine has no such setting: {error}") from error
    start = _Embedded(info=info, settings=chosen, dtype=dtype)
    return Serving(
        engine=Supervised(start, on_event=told),
        base_name=info.name,
        base_digest=info.digest,
        methods=_methods("copydesk"),
    )


def serve_vllm(place: Place, wish: VllmWish, told: Told) -> Serving:
    """Reach a vLLM, or start one.

    Raises:
        InvalidInput: there is no vLLM here, or it serves something else.
        Unreachable: it does not answer, or ended.
    """
    info = workspace_base(place)

    def start(before: Engine | None) -> Engine:
        if before is not None:
            before.stop()
        settings = VllmSettings(
            model=wish.model or (OWN_MODEL if wish.url is None else info.name),
            base_digest=info.digest,
            api_key=wish.api_key,
            max_adapters=wish.max_adapters,
        )
        if wish.url is not None:
            return reach_vllm(wish.url, settings)
        return _own_vllm(place, info, wish)

    return Serving(
        engine=Supervised(start, on_event=told),
        base_name=info.name,
        base_digest=info.digest,
        methods=_methods("vllm"),
    )


def _own_vllm(place: Place, info: BaseInfo, wish: VllmWish) -> Engine:
    process = start_vllm(
        find_vllm(),
        info.path,
        log=place.root / "runs" / "vllm.log",
        max_adapters=wish.max_adapters,
        arguments=wish.arguments,
    )
    settings = VllmSettings(
        model=OWN_MODEL,
        base_digest=info.digest,
        api_key=process.api_key,
        max_adapters=wish.max_adapters,
    )
    try:
        return reach_vllm(process.url, settings, process)
    except BaseException:
        process.end()
        raise


@dataclass(slots=True, kw_only=True)
class _Embedded:
    """Starts the embedded engine, and starts it again."""

    info: BaseInfo
    settings: Any
    dtype: str
    _restarted: float = field(default=-_AGAIN_SECONDS)

    def __call__(self, before: Engine | None) -> Engine:
        from copydesk.serve import LocalEngine, start_engine

        if isinstance(before, LocalEngine):
            if self._brought_up(before):
                return before
            before.stop()
        device = pick_device()
        base = load_base(self.info, device=device, dtype=pick_dtype(self.dtype, device))
        return start_engine(base, self.settings)

    def _brought_up(self, engine: "LocalEngine") -> bool:
        """Start a new thread over the base that is loaded; not where that failed a moment ago."""
        last, self._restarted = self._restarted, time.monotonic()
        if self._restarted - last < _AGAIN_SECONDS:
            return False
        try:
            engine.start()
        except CopydeskError:
            return False
        return True


def _methods(engine: str) -> frozenset[str]:
    """Those whose adapters an engine takes; one that leaves a base would need an engine for it."""
    return frozenset(
        method.name
        for method in METHODS.values()
        if method.leaves == "adapter" and engine in method.engines
    )
