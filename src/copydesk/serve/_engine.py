"""The engine's thread: takes requests from any thread, lets the batch step, answers."""

import logging
import math
import threading
import time
from collections.abc import Callable

import torch

from copydesk.errors import Busy, Cancelled, CopydeskError, EngineDown, InvalidInput, WrongBase
from copydesk.models import Base, free_memory
from copydesk.records import EngineState, Generate, Job, Piece, Sampling
from copydesk.serve._batch import Batch
from copydesk.serve._grammar import Grammars
from copydesk.serve._kernels import Kernels
from copydesk.serve._merged import Copies
from copydesk.serve._prefixes import PrefixCache
from copydesk.serve._prompts import PromptReader
from copydesk.serve._queue import FairQueue
from copydesk.serve._runner import Runner
from copydesk.serve._settings import EngineSettings
from copydesk.serve._shelf import Shelf
from copydesk.serve._tasks import Task

_LOG = logging.getLogger(__name__)
_CHARACTERS = 128
"""Of a prompt, at most so many times the positions of a slot: longer ones are not even encoded."""
_AHEAD = 4
"""Requests whose adapters are read while all slots are taken."""


class LocalEngine:
    """Continues texts of many clients at once, over one base in this process."""

    def __init__(
        self,
        base: Base,
        runner: Runner,
        settings: EngineSettings,
        kernels: Kernels | None = None,
    ) -> None:
        """Take a loaded base, what runs it, the limits, and what draws; `start` begins."""
        self._kernels = kernels
        self._base = base
        self._runner: Runner | None = runner
        self._settings = settings
        self._length = runner.length
        self._handwritten = runner.takes_parts
        self._prompts = PromptReader(base)
        width = int(base.model.config.get_text_config().vocab_size)
        self._grammars = Grammars(base.tokenizer, width)
        self._prefixes = PrefixCache(
            settings.prefix_cache_bytes, salt=f"{base.info.digest} {base.dtype} {settings.quantise}"
        )
        self._shelf = Shelf(base, runner.prepare, limit=settings.max_adapters, on_ready=self._poke)
        self._copies = Copies(runner.merge, limit=settings.merged_copies)
        self._queue = FairQueue(settings.max_waiting)
        self._staged: list[Task] = []
        self._starting: list[Task] = []
        """Taken from those that are staged, and not yet in the batch."""
        self._changed = threading.Condition()
        self._poked = False
        self._status = "down"
        self._until: float | None = None
        self._task_seconds = 1.0
        """How long a request takes once it has a slot, lately."""
        self._thread: threading.Thread | None = None
        self._batch = self._new_batch(runner)

    def start(self) -> None:
        """Begin, or begin again after a crash; harmless while it runs.

        Raises:
            EngineDown: it was stopped, and its memory freed.
        """
        with self._changed:
            if self._status != "down":
                return
            if self._runner is None:
                raise EngineDown("The engine was stopped", todo="Make a new one.")
            if self._thread is not None:  # after a crash nothing in the slots is trusted
                self._prefixes.clear()
                self._copies.clear()
                for slot in range(self._runner.slots):
                    self._runner.close(slot, clean=False)
                self._batch = self._new_batch(self._runner, self._batch)
            self._status = "ready"
            self._until = None
            self._thread = threading.Thread(target=self._work, name="copydesk-engine", daemon=True)
            self._thread.start()

    def submit(
        self,
        request: Generate,
        on_piece: Callable[[Piece], None] | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> Job:
        """Queue a continuation; see `records.Engine`."""
        self._check(request)
        texts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
        size = sum(len(each if isinstance(each, str) else each.content) for each in texts)
        if size > _CHARACTERS * self._length:
            raise InvalidInput(
                f"The prompt has {size} characters; {self._length} tokens are read at most",
                todo="Shorten it.",
            )
        prompt = self._prompts.encode(request.prompt)
        room = self._length - len(prompt)
        if room < 1:
            raise InvalidInput(
                f"The prompt has {len(prompt)} tokens; {self._base.info.name} reads at most "
                f"{self._length} here",
                todo="Shorten it.",
            )
        task = Task(
            request,
            prompt,
            limit=min(request.sampling.max_new_tokens, room),
            on_piece=on_piece,
            on_end=on_end,
            wake=self._poke,
        )
        with self._changed:
            if self._status != "ready":
                raise EngineDown(f"The engine is {self._status}", todo="Try again later.")
            waiting = len(self._queue) + len(self._staged)
            if waiting >= self._settings.max_waiting:
                seconds = self._task_seconds * waiting / self._settings.max_running
                raise Busy(
                    f"{waiting} requests wait already",
                    retry_seconds=max(1.0, math.ceil(seconds)),
                    todo="Come again a little later.",
                )
            self._queue.put(task)
            self._poked = True
            self._changed.notify()
        return task

    def state(self) -> EngineState:
        """What it is doing now; counters end in `_total`, sums of seconds in `_seconds_total`."""
        with self._changed:
            batch, shelf = self._batch, self._shelf
            running, waiting = len(batch.tasks), len(self._queue) + len(self._staged)
            status = self._status
        figures: dict[str, float] = {
            f"{key}_total": value for key, value in dict(batch.counts).items()
        }
        for key, value in dict(batch.seconds).items():
            figures[f"{key}_seconds_total"] = value
        figures |= {
            "adapter_hits_total": shelf.hits,
            "adapter_misses_total": shelf.misses,
            "adapter_evictions_total": shelf.evicted,
            "adapters_resident": shelf.resident,
            "adapters_bytes": shelf.bytes,
            "prefix_tokens_found_total": self._prefixes.hits,
            "prefix_bytes": self._prefixes.bytes,
            "slots_bytes_limit": 0 if self._runner is None else self._runner.bytes,
            "stacks_bytes": 0 if self._runner is None else self._runner.stacks_bytes,
            "merged_copies": self._copies.count,
            "merged_bytes": self._copies.bytes,
            "handwritten": float(self._handwritten),
        }
        return EngineState(
            status=status,  # pyright: ignore[reportArgumentType]
            running=running,
            waiting=waiting,
            figures=figures,
        )

    def stop(self, drain_seconds: float = 0.0) -> None:
        """Take no more; finish what there is within that time, end the rest, free the memory."""
        with self._changed:
            if self._status == "ready":
                self._status = "draining"
            self._until = time.monotonic() + drain_seconds
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._shelf.close()
        self._copies.close()
        self._prefixes.clear()
        if self._runner is not None:
            self._batch.free()
        self._runner = None
        free_memory()

    def _new_batch(self, runner: Runner, before: Batch | None = None) -> Batch:
        batch = Batch(
            self._base,
            runner,
            prefill_tokens=self._settings.prefill_tokens,
            prefixes=self._prefixes,
            grammars=self._grammars,
            kernels=self._kernels,
            on_end=self._settle,
        )
        if before is not None:
            batch.counts, batch.seconds = before.counts, before.seconds
        return batch

    def _check(self, request: Generate) -> None:
        _check_sampling(request.sampling)
        adapter = request.adapter
        if adapter is not None and adapter.base_digest != self._base.info.digest:
            raise WrongBase(
                f"{adapter.name} is bound to base {adapter.base_digest[:12]}, not to "
                f"{self._base.info.name} ({self._base.info.digest[:12]})",
                todo="Serve the base it was trained on, or train it again on this one.",
            )
        if len(request.stop) > self._settings.max_stop or not all(request.stop):
            raise InvalidInput(
                f"Stop strings are at most {self._settings.max_stop}, and not empty", where="stop"
            )
        if request.logprobs is not None and not 0 <= request.logprobs <= 100:
            raise InvalidInput("logprobs is at least 0 and at most 100", where="logprobs")
        self._grammars.check(request.json_schema)

    def _poke(self) -> None:
        with self._changed:
            self._poked = True
            self._changed.notify()

    def _work(self) -> None:
        if self._settings.threads is not None:
            torch.set_num_threads(self._settings.threads)
        try:
            while self._wait():
                self._admit()
                self._copies.note({task.digest for task in self._batch.tasks})
                self._batch.step()
            error = EngineDown("The engine was stopped", todo="Send it again elsewhere.")
        except BaseException as fault:  # noqa: BLE001 - whoever waits must hear of any end
            _LOG.exception("the engine's thread ended")
            error = EngineDown(
                f"The engine failed: {type(fault).__name__}", todo="Send the request again."
            )
        self._give_up(error)

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when it is time to end."""
        with self._changed:
            while True:
                if self._until is not None and (
                    time.monotonic() >= self._until or not self._unfinished()
                ):
                    return False
                if self._poked or self._batch.tasks:
                    self._poked = False
                    return True
                # Deadlines pass without a call.
                self._changed.wait(0.05 if self._unfinished() else None)
                self._poked = self._poked or self._unfinished()

    def _unfinished(self) -> bool:
        return bool(self._queue or self._staged or self._batch.tasks)

    def _admit(self) -> None:
        """Drop what was cancelled, have adapters read, and fill the slots that are free."""
        ended: list[tuple[Task, CopydeskError]] = []
        with self._changed:
            for task in [*self._queue, *self._staged]:
                if (reason := task.reason_to_end()) is not None:
                    ended.append((task, reason))
                    if task in self._staged:
                        self._staged.remove(task)
                    else:
                        self._queue.remove(task)
            self._stage()
            ready = [task for task in self._staged if task.lease is None or task.lease.ready]
            self._starting = ready[: self._batch.room]
            for task in self._starting:
                self._staged.remove(task)
        while self._starting:
            task = self._starting[0]
            try:
                weights = None if task.lease is None else task.lease.weights
                if weights is not None:
                    weights = self._copies.find(task.digest, weights)
                self._batch.start(task, weights)
            except CopydeskError as error:
                ended.append((task, error))
            self._starting.pop(0)
        for task, error in ended:
            self._batch.counts["cancelled" if isinstance(error, Cancelled) else "failed"] += 1
            self._settle(task, 0)
            task.end(error)

    def _stage(self) -> None:
        """Take the next tasks from the queue and pin their adapters."""
        while len(self._staged) < self._batch.room + _AHEAD:
            task = self._queue.peek()
            if task is None:
                return
            adapter = task.request.adapter
            if adapter is not None:
                task.lease = self._shelf.lease(adapter)
                if task.lease is None:  # all in memory are in use
                    return
            self._queue.remove(task)
            task.charged = len(task.prompt) + task.limit
            self._queue.charge(task.request.share, task.charged)
            self._staged.append(task)

    def _settle(self, task: Task, ran: int) -> None:
        """Give back to a share what was charged for tokens that were not run."""
        with self._changed:
            if task.charged:
                self._queue.charge(task.request.share, ran - task.charged)
                task.charged = 0
            if ran:
                taken = time.monotonic() - task.submitted
                self._task_seconds += 0.1 * (taken - self._task_seconds)

    def _give_up(self, error: EngineDown) -> None:
        with self._changed:
            self._status = "down"
            left = [*self._queue, *self._staged, *self._starting]
            for task in list(self._queue):
                self._queue.remove(task)
            self._staged.clear()
            self._starting.clear()
        self._batch.fail(error)
        for task in left:
            task.end(error)


def _check_sampling(sampling: Sampling) -> None:
    allowed = {
        "max_new_tokens": sampling.max_new_tokens >= 1,
        "temperature": 0 <= sampling.temperature <= 100,
        "top_p": 0 < sampling.top_p <= 1,
        "repetition_penalty": 0 < sampling.repetition_penalty <= 100,
    }
    if wrong := [name for name, good in allowed.items() if not good]:
        raise InvalidInput(
            f"{wrong[0]}={getattr(sampling, wrong[0])!r} is out of its range", where=wrong[0]
        )
