"""Adapters in vLLM: checked here, loaded and unloaded by its own routes."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from copydesk.errors import Busy, Damaged, EngineDown, InvalidInput, WrongBase
from copydesk.records import AdapterRef
from copydesk.store import open_artifact

_LOAD, _UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
_RETRY_SECONDS = 2.0


@dataclass(slots=True)
class _Held:
    """An adapter that vLLM has, or is about to have."""

    ready: asyncio.Future[None]
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Adapters:
    """Which adapters a vLLM has, at most so many; the least recently used goes first.

    An adapter's name there holds its digest: vLLM knows adapters by name alone, and one of an
    earlier run, or of another version with the same name, cannot answer for this one.
    """

    def __init__(self, http: httpx2.AsyncClient, *, base_digest: str, limit: int) -> None:
        self._http = http
        self._base_digest = base_digest
        self._limit = limit
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self.loads = 0
        self.unloads = 0
        self.hits = 0

    def __len__(self) -> int:
        return len(self._held)

    @asynccontextmanager
    async def using(self, adapter: AdapterRef) -> AsyncGenerator[str]:
        """Have an adapter loaded for the length of the block; the name that vLLM knows it by.

        Raises:
            WrongBase: it is bound to another base.
            Damaged: its folder is not what was registered.
            InvalidInput: vLLM does not take it.
            Busy: all that may be loaded are in use.
            EngineDown: vLLM does not answer.
        """
        if adapter.base_digest != self._base_digest:
            raise WrongBase(
                f"{adapter.name} is bound to base {adapter.base_digest[:12]}, not to the one that "
                f"vLLM runs ({self._base_digest[:12]})",
                todo="Serve the base it was trained on, or train it again on this one.",
            )
        name = f"{adapter.name}-{adapter.digest[:24]}"
        held = self._held.get(name)
        if held is None:
            held = self._begin(name, adapter)
        else:
            self.hits += 1
            self._held.move_to_end(name)
        held.users += 1
        try:
            await asyncio.shield(held.ready)
            yield name
        finally:
            held.users -= 1

    def forget(self, name: str) -> None:
        """Vllm does not know it any more, after a restart: it is loaded anew by the next."""
        self._held.pop(name, None)

    def forget_all(self) -> None:
        """Vllm was started anew."""
        self._held.clear()

    def _begin(self, name: str, adapter: AdapterRef) -> _Held:
        unused: list[str] = []
        if len(self._held) >= self._limit:
            unused = [one for one, held in self._held.items() if not held.users][:1]
            if not unused:
                raise Busy(
                    f"All {self._limit} adapters that may be loaded are in use",
                    retry_seconds=_RETRY_SECONDS,
                )
            del self._held[unused[0]]
        work = asyncio.ensure_future(self._load(name, adapter, unused))
        self._held[name] = held = _Held(ready=work)
        work.add_done_callback(lambda done: self._loaded(name, held, done))
        return held

    def _loaded(self, name: str, held: _Held, done: "asyncio.Future[None]") -> None:
        if (done.cancelled() or done.exception()) and self._held.get(name) is held:
            del self._held[name]

    async def _load(self, name: str, adapter: AdapterRef, instead: list[str]) -> None:
        await asyncio.to_thread(check_adapter, adapter)
        for other in instead:
            await self._post(_UNLOAD, {"lora_name": other})
            self.unloads += 1
        answer = await self._post(_LOAD, {"lora_name": name, "lora_path": str(adapter.path)})
        if answer.status_code == 200:
            self.loads += 1
        elif "already" not in answer.text:  # of an earlier run: the same bytes, by its name
            raise InvalidInput(f"vLLM does not take {adapter.name}: {answer.text[:300]}")

    async def _post(self, path: str, body: dict[str, str]) -> httpx2.Response:
        try:
            answer = await self._http.post(path, json=body)
        except httpx2.HTTPError as error:
            raise EngineDown(f"vLLM does not answer: {error}") from error
        if answer.status_code in (401, 403, 404) and path == _LOAD:
            raise EngineDown(
                f"vLLM refuses to load adapters ({answer.status_code})",
                todo="Start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.",
            )
        return answer


def check_adapter(adapter: AdapterRef) -> None:
    """See that a folder is what was registered, and holds numbers: vLLM checks neither.

    Raises:
        Damaged: a file is not the one that was hashed, or a tensor is not finite.
    """
    found = open_artifact(adapter.path)
    if found.digest != adapter.digest:
        raise Damaged(f"{adapter.name} is not what was registered", where=str(adapter.path))
    file = adapter.path / "adapter_model.safetensors"
    for name, finite in _finite(file.read_bytes()):
        if not finite:
            raise Damaged(f"{adapter.name}'s tensor {name} is not finite", where=str(file))


def _finite(content: bytes) -> list[tuple[str, bool]]:
    """(tensor, whether all of it is finite) of a safetensors file, without torch."""
    import numpy as np
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(content)
    except SafetensorError as error:
        raise Damaged(f"The adapter cannot be read: {error}") from error
    kinds = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
    found: list[tuple[str, bool]] = []
    for name, tensor in tensors:
        raw, kind = tensor["data"], tensor["dtype"]
        if kind == "BF16":  # the upper half of a float32
            bits = np.frombuffer(raw, np.uint16)
            finite = bool(((bits & 0x7F80) != 0x7F80).all())
        elif kind in kinds:
            finite = bool(np.isfinite(np.frombuffer(raw, kinds[kind])).all())
        else:
            raise Damaged(f"The adapter's tensor {name} is of the kind {kind}")
        found.append((name, finite))
    return found
