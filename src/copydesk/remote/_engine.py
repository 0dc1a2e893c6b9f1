"""A `records.Engine` over HTTP: a thread with an event loop that streams from vLLM."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import httpx2

from copydesk.errors import (
    Busy,
    Cancelled,
    CopydeskError,
    EngineDown,
    InvalidInput,
    Unreachable,
)
from copydesk.records import Completion, EngineState, Generate, Generated, Job, Piece
from copydesk.remote._adapters import Adapters
from copydesk.remote._process import VllmProcess
from copydesk.remote._settings import VllmSettings
from copydesk.remote._turns import Turns
from copydesk.remote._wire import CHAT, Reading, body_of, path_of

_Outcome = Generated | CopydeskError
_END_SECONDS = 10.0
_POLL_SECONDS = 0.02


def reach_vllm(
    url: str, settings: VllmSettings, process: VllmProcess | None = None
) -> "VllmEngine":
    """An engine over a vLLM that runs at `url`.

    Args:
        url: its address.
        settings: what it serves, and limits.
        process: the vLLM, where it is ours: it ends with the engine.

    Raises:
        Unreachable: nothing answers there, or it is not well.
        InvalidInput: it does not serve `settings.model`.
    """
    headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    try:
        answer = httpx2.get(f"{url}/v1/models", headers=headers, timeout=settings.connect_seconds)
        answer.raise_for_status()
        known = [str(model["id"]) for model in answer.json()["data"]]
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise Unreachable(
            f"No vLLM answers at {url}: {error}", todo="Start it, or correct the address."
        ) from error
    if settings.model not in known:
        raise InvalidInput(
            f"The vLLM at {url} does not serve {settings.model!r}",
            todo=f"It serves: {', '.join(known)[:300]}. Name one of them with --vllm-model.",
        )
    return VllmEngine(url, settings, headers, process)


class VllmJob:
    """A continuation that vLLM writes."""

    def __init__(self, request: Generate, told: Any, on_end: Any) -> None:
        self.request = request
        self.submitted = time.monotonic()
        self._told: Callable[[Piece], None] | None = told
        self._on_end: Callable[[Job], None] | None = on_end
        self._ended = threading.Event()
        self._outcome: _Outcome | None = None
        self.cancelled = False
        self.cancel_soon: Callable[[], None] = lambda: None

    def cancel(self) -> None:
        """End it at the next step; harmless when it has ended."""
        self.cancelled = True
        self.cancel_soon()

    def result(self, timeout: float | None = None) -> Generated:
        """Wait for its end; see `records.Job`."""
        if not self._ended.wait(timeout):
            raise TimeoutError("It is not done")
        assert self._outcome is not None
        if isinstance(self._outcome, CopydeskError):
            raise self._outcome
        return self._outcome

    def tell(self, piece: Piece) -> None:
        """Pass new text on."""
        if self._told is not None:
            self._told(piece)

    def end(self, outcome: _Outcome) -> None:
        """Say how it ended, once."""
        if not self._ended.is_set():
            self._outcome = outcome
            self._ended.set()
            if self._on_end is not None:
                self._on_end(self)


class VllmEngine:
    """Continues texts by a vLLM. Made by `reach_vllm`."""

    def __init__(
        self,
        url: str,
        settings: VllmSettings,
        headers: dict[str, str],
        process: VllmProcess | None,
    ) -> None:
        """Begin; nothing is asked of vLLM yet."""
        self._process = process
        self._settings = settings
        self._status: Literal["ready", "draining", "down"] = "ready"
        self._counts = {"requests_total": 0.0, "tokens_total": 0.0, "failed_total": 0.0}
        self._jobs: set[asyncio.Task[_Outcome]] = set()
        self._taken = 0
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        timeout = httpx2.Timeout(settings.silence_seconds, connect=settings.connect_seconds)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        # The address is the keeper's own: no proxy of the environment stands before it.
        self._http = httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=timeout, limits=limits, trust_env=False
        )
        self._adapters = Adapters(
            self._http, base_digest=settings.base_digest, limit=settings.max_adapters
        )
        self._turns = Turns(settings.max_running)
        self._thread = threading.Thread(target=self._run, name="copydesk-vllm", daemon=True)
        self._thread.start()

    def submit(
        self,
        request: Generate,
        on_piece: Callable[[Piece], None] | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> VllmJob:
        """Queue a continuation; see `records.Engine`."""
        job = VllmJob(request, on_piece, on_end)
        with self._lock:
            if self._status != "ready":
                raise EngineDown(f"The engine is {self._status}", todo="Come back in a moment.")
            if self._taken >= self._settings.max_running + self._settings.max_waiting:
                raise Busy(f"{self._taken} requests are under way already", retry_seconds=2.0)
            self._taken += 1
            self._loop.call_soon_threadsafe(self._begin, job)
        return job

    def state(self) -> EngineState:
        """What it is doing now."""
        adapters = self._adapters
        figures = {
            **self._counts,
            "adapter_hits_total": float(adapters.hits),
            "adapter_misses_total": float(adapters.loads),
            "adapter_evictions_total": float(adapters.unloads),
            "adapters_resident": float(len(adapters)),
        }
        inside = self._turns.inside
        return EngineState(
            status=self._status,
            running=inside,
            waiting=max(0, self._taken - inside),
            figures=figures,
        )

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Take no more; finish what runs within that time, cancel the rest."""
        with self._lock:
            if self._status == "ready":
                self._status = "draining"
        until = time.monotonic() + drain_seconds
        while self._taken and time.monotonic() < until and self._thread.is_alive():
            time.sleep(_POLL_SECONDS)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_END_SECONDS)
        self._status = "down"
        if self._process is not None:
            self._process.end()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        watching = self._loop.create_task(self._watch())
        try:
            self._loop.run_forever()
        finally:
            self._status = "down"
            watching.cancel()
            self._loop.run_until_complete(self._give_up())
            self._loop.run_until_complete(self._http.aclose())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _watch(self) -> None:
        """Go down when vLLM is not well twice in a row: the supervisor then looks for it anew."""
        failed = 0
        while failed < 2:
            await asyncio.sleep(self._settings.health_seconds)
            try:
                answer = await self._http.get("/health", timeout=self._settings.connect_seconds)
                failed = 0 if answer.status_code == 200 else failed + 1
            except httpx2.HTTPError:
                failed += 1
        self._status = "down"
        for task in list(self._jobs):
            task.cancel()

    async def _give_up(self) -> None:
        """Cancel all that was taken, also what has not begun."""
        while self._taken:
            for task in self._jobs:
                task.cancel()
            await asyncio.sleep(0)

    def _begin(self, job: VllmJob) -> None:
        task = self._loop.create_task(self._outcome(job))
        self._jobs.add(task)
        # In a callback, because a task that is cancelled before its first step runs none of its
        # own lines.
        task.add_done_callback(lambda done: self._settle(job, done))

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
                self._loop.call_soon_threadsafe(task.cancel)

        job.cancel_soon = cancel
        if job.cancelled:  # before it had begun
            task.cancel()

    async def _outcome(self, job: VllmJob) -> _Outcome:
        """Do the work; what came of it, whatever happens."""
        try:
            async with asyncio.timeout(job.request.deadline_seconds):
                return await self._work(job)
        except TimeoutError:
            return Cancelled("Its time is up")
        except CopydeskError as error:
            return error
        except httpx2.HTTPError as error:
            return EngineDown(f"vLLM went away: {type(error).__name__}")
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of any end
            return EngineDown(f"The engine failed: {type(error).__name__}: {error}")

    def _settle(self, job: VllmJob, done: "asyncio.Task[_Outcome]") -> None:
        """Say how it ended."""
        self._jobs.discard(done)
        outcome: _Outcome
        if not done.cancelled():
            outcome = done.result()
        elif self._status == "down":
            outcome = EngineDown("vLLM went away")
        else:
            outcome = Cancelled("It was cancelled")
        with self._lock:
            self._taken -= 1
        self._counts["requests_total"] += 1
        self._counts["failed_total"] += isinstance(outcome, CopydeskError)
        if isinstance(outcome, Generated):
            self._counts["tokens_total"] += outcome.completion.tokens
        job.end(outcome)

    async def _work(self, job: VllmJob) -> Generated:
        request = job.request
        async with self._turns.turn(request.share):
            queued = time.monotonic() - job.submitted
            if request.adapter is None:
                return await self._write(job, self._settings.model, queued)
            try:
                async with self._adapters.using(request.adapter) as name:
                    return await self._write(job, name, queued)
            except _UnknownModel as unknown:  # vLLM was started anew behind our back
                self._adapters.forget(unknown.name)
            async with self._adapters.using(request.adapter) as name:
                return await self._write(job, name, queued)

    async def _write(self, job: VllmJob, model: str, queued: float) -> Generated:
        tokens = job.request.sampling.max_new_tokens
        try:
            return await self._stream(job, model, tokens, queued)
        except _TooLong as error:
            room = await self._room(job.request, model)
            if room < 1:
                raise InvalidInput("The prompt leaves no room for an answer") from error
            return await self._stream(job, model, min(tokens, room), queued)

    async def _stream(self, job: VllmJob, model: str, tokens: int, queued: float) -> Generated:
        path = path_of(job.request)
        reading = Reading(chat=path == CHAT)
        first: float | None = None
        body = body_of(job.request, model, tokens)
        async with self._http.stream("POST", path, json=body) as answer:
            if answer.status_code != 200:
                raise _refusal(answer.status_code, (await answer.aread())[:4000], model)
            async for data in _events(answer):
                piece = reading.take(data)
                if piece is not None:
                    first = first or time.monotonic() - job.submitted
                    job.tell(piece)
        if reading.finish is None or reading.tokens is None:
            raise EngineDown("vLLM broke an answer off")
        return Generated(
            completion=Completion(
                text=reading.text, tokens=reading.tokens, finish_reason=reading.finish
            ),
            prompt_tokens=reading.prompt_tokens,
            cached_tokens=reading.cached_tokens,
            queued_seconds=queued,
            first_token_seconds=first or time.monotonic() - job.submitted,
        )

    async def _room(self, request: Generate, model: str) -> int:
        """Tokens that vLLM's window has left behind the prompt."""
        body = body_of(request, model, 1)
        asked = {key: body[key] for key in ("model", "messages", "prompt") if key in body}
        answer = await self._http.post("/tokenize", json=asked)
        try:
            found = answer.json()
            return int(found["max_model_len"]) - int(found["count"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput("The prompt and its answer are longer than vLLM reads") from error


class _UnknownModel(Exception):
    """Vllm does not know a name that it was given to know."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _TooLong(Exception):
    """Prompt and answer do not fit in vLLM's window."""


async def _events(answer: httpx2.Response) -> AsyncIterator[str]:
    """The data of each server-sent event, up to the end mark."""
    async for line in answer.aiter_lines():
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            yield data


def _refusal(status: int, content: bytes, model: str) -> Exception:
    told = content.decode(errors="replace")
    if status == 404:
        return _UnknownModel(model)
    if status == 400 and ("context length" in told or "max_tokens" in told):
        return _TooLong(told)
    if status in (400, 413, 422):
        return InvalidInput(f"vLLM refuses it: {told[:300]}")
    if status == 429:
        return Busy("vLLM's own queue is full", retry_seconds=2.0)
    return EngineDown(f"vLLM failed with {status}: {told[:300]}")
