"""A small real engine for tests of what stands before one: tiny bases, one step a job in turn."""

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from copydesk.errors import Busy, Cancelled, CopydeskError, EngineDown, InvalidInput
from copydesk.models import BaseStore, Tuned, encode_chat, load_adapter, load_base, untuned
from copydesk.records import (
    AdapterRef,
    Completion,
    EngineState,
    Generate,
    Generated,
    Job,
    Piece,
    TokenLogprob,
)

CPU = torch.device("cpu")


class SmallJob:
    """One continuation: its tokens so far, and who is to be told."""

    def __init__(self, request: Generate, prompt: list[int], told: Any, on_end: Any) -> None:
        self.request = request
        self.prompt = prompt
        self.new: list[int] = []
        self.likely: list[TokenLogprob] = []
        self.shown = ""
        self.told = told
        self.on_end = on_end
        self.submitted = time.monotonic()
        self.first = 0.0
        self.cancelled = False
        self.ended = threading.Event()
        self.outcome: Generated | CopydeskError | None = None
        self.draw = torch.Generator().manual_seed(request.sampling.seed % 2**63)

    def cancel(self) -> None:
        self.cancelled = True

    def result(self, timeout: float | None = None) -> Generated:
        if not self.ended.wait(timeout):
            raise TimeoutError
        assert self.outcome is not None
        if isinstance(self.outcome, CopydeskError):
            raise self.outcome
        return self.outcome

    def end(self, outcome: Generated | CopydeskError) -> None:
        self.outcome = outcome
        self.ended.set()
        if self.on_end:
            self.on_end(self)


class SmallEngine:
    """A `records.Engine`. `hold` makes it wait between steps; `die` stops its thread dead."""

    def __init__(self, base: Path, *, queue: int = 64, step_seconds: float = 0.0) -> None:
        self.info = BaseStore(base.parent / "cache").find(str(base))
        self.queue = queue
        self.step_seconds = step_seconds
        self.hold = threading.Event()
        self.hold.set()
        self.steps = 0
        self._models: dict[str, Tuned] = {}
        self._jobs: deque[SmallJob] = deque()
        self._active = 0
        self._status = "ready"
        self._lock = threading.Lock()
        self._dies = False
        self._tokenizer = self._model(None).base.tokenizer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(
        self,
        request: Generate,
        on_piece: Callable[[Piece], None] | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> SmallJob:
        if self._status != "ready":
            raise EngineDown("The engine has stopped")
        if request.json_schema is not None:
            raise InvalidInput("This small engine writes no JSON")
        prompt = (
            self._tokenizer.encode(request.prompt, add_special_tokens=False)
            if isinstance(request.prompt, str)
            else encode_chat(self._tokenizer, request.prompt)
        )
        if not 0 < len(prompt) < 2048:
            raise InvalidInput(f"The prompt has {len(prompt)} tokens")
        with self._lock:
            if len(self._jobs) >= self.queue:
                raise Busy("The queue is full", retry_seconds=2.5)
            job = SmallJob(request, list(prompt), on_piece, on_end)
            self._jobs.append(job)
            self._active += 1
        return job

    def state(self) -> EngineState:
        figures = {"steps_total": float(self.steps)}
        status: Any = self._status
        return EngineState(status=status, running=self._active, waiting=0, figures=figures)

    def stop(self, drain_seconds: float = 0.0) -> None:
        if self._status == "ready":
            self._status = "draining"
        until = time.monotonic() + drain_seconds
        while self._active and time.monotonic() < until and self._thread.is_alive():
            time.sleep(0.005)
        self._status = "down"
        self._thread.join()

    def die(self) -> None:
        """Fail as a thread does that meets a fault: what runs is told, nothing more happens."""
        self._dies = True

    def _run(self) -> None:
        while self._status != "down":
            self.hold.wait(0.05)
            if self._dies:
                self._status = "down"
                break
            if not self._jobs or not self.hold.is_set():
                time.sleep(0.001)
                continue
            time.sleep(self.step_seconds)
            with self._lock:
                job = self._jobs.popleft()
            try:
                going = self._step(job)
            except CopydeskError as error:
                job.end(error)
                going = False
            with self._lock:
                if going:
                    self._jobs.append(job)
                else:
                    self._active -= 1
        error = EngineDown("The engine stopped") if self._dies else Cancelled("The engine ends")
        while self._jobs:
            self._jobs.popleft().end(error)

    def _step(self, job: SmallJob) -> bool:
        request = job.request
        limit = request.deadline_seconds
        if job.cancelled or (limit is not None and time.monotonic() - job.submitted > limit):
            raise Cancelled("It was cancelled")
        model: Any = self._model(request.adapter)
        with torch.inference_mode():
            ids = torch.tensor([[*job.prompt, *job.new]])
            logits = (model.peft or model.model)(input_ids=ids, use_cache=False).logits[0, -1]
        token = _draw(logits, job)
        self.steps += 1
        job.first = job.first or time.monotonic() - job.submitted
        job.new.append(token)
        finish = self._show(job, token)
        if finish is None:
            return True
        done = Completion(text=job.shown, tokens=len(job.new), finish_reason=finish)
        job.end(
            Generated(
                completion=done,
                prompt_tokens=len(job.prompt),
                cached_tokens=0,
                queued_seconds=0.0,
                first_token_seconds=job.first,
            )
        )
        return False

    def _show(self, job: SmallJob, token: int) -> Any:
        """Tell new text; how it ends, if it does."""
        request, ended = job.request, token == self._tokenizer.eos_token_id
        text = self._tokenizer.decode(job.new, skip_special_tokens=True)
        cut = min((at for stop in request.stop if (at := text.find(stop)) >= 0), default=-1)
        finish = "stop" if ended or cut >= 0 else None
        if finish is None and len(job.new) >= request.sampling.max_new_tokens:
            finish = "length"
        text = text[:cut] if cut >= 0 else text
        held = max((len(stop) for stop in request.stop), default=1) - 1
        safe = text if finish else text[: len(text) - held] if held else text
        if finish is None and safe.endswith("\N{REPLACEMENT CHARACTER}"):
            return None
        new = safe[len(job.shown) :]
        if new:
            job.shown += new
            if job.told:
                told, job.likely = tuple(job.likely), []
                job.told(Piece(text=new, logprobs=told))
        return finish

    def _model(self, adapter: AdapterRef | None) -> Tuned:
        digest = adapter.digest if adapter else ""
        if digest not in self._models:
            base = load_base(self.info, device=CPU, dtype=torch.float32)
            self._models[digest] = (
                load_adapter(base, adapter.path, bound_to=adapter.base_digest)
                if adapter
                else untuned(base)
            )
        return self._models[digest]


def _draw(logits: torch.Tensor, job: SmallJob) -> int:
    sampling = job.request.sampling
    logs = logits.log_softmax(-1)
    if sampling.temperature == 0:
        token = int(logits.argmax())
    else:
        shares = (logits / sampling.temperature).softmax(-1)
        token = int(torch.multinomial(shares, 1, generator=job.draw))
    if job.request.logprobs is not None:
        best = torch.topk(logs, job.request.logprobs)
        top = tuple(
            (chr(int(i) % 256), bytes([int(i) % 256]), float(v))
            for v, i in zip(best.values, best.indices, strict=True)
        )
        job.likely.append(
            TokenLogprob(
                token=chr(token % 256),
                token_bytes=bytes([token % 256]),
                logprob=float(logs[token]),
                top=top,
            )
        )
    return token
