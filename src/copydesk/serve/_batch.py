"""The texts that are being written: each step runs one token of each, and parts of new prompts."""

import heapq
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from copydesk.errors import CopydeskError, Damaged, InvalidInput
from copydesk.models import Base
from copydesk.records import Piece, TokenLogprob
from copydesk.serve._drawing import Drawer, Drawn, draw
from copydesk.serve._grammar import Grammars
from copydesk.serve._kernels import Kernels
from copydesk.serve._prefixes import BLOCK, PrefixCache
from copydesk.serve._prompts import TokenNames
from copydesk.serve._runner import Prepared, Runner, Stretch
from copydesk.serve._tasks import Running, Task
from copydesk.serve._text import TextStream

_LOG = logging.getLogger(__name__)


class Batch:
    """Runs tasks in the slots of a runner. Knows no threads: one calls it."""

    def __init__(
        self,
        base: Base,
        runner: Runner,
        *,
        prefill_tokens: int,
        prefixes: PrefixCache,
        grammars: Grammars,
        kernels: Kernels | None,
        on_end: Callable[[Task, int], None],
    ) -> None:
        """Take what runs.

        Args:
            kernels: what draws tokens, where there is any.
            on_end: called with each task that ended and the tokens that were run for it.
        """
        self._base = base
        self._runner = runner
        self._prefill_tokens = prefill_tokens
        self._prefixes = prefixes
        self._grammars = grammars
        self._kernels = kernels
        self._on_end = on_end
        self._names = TokenNames(base.tokenizer)
        self._ends = _end_tokens(base)
        self._free = list(range(runner.slots))
        self._running: list[Running] = []
        self.counts: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def tasks(self) -> list[Task]:
        """What is being written."""
        return [run.task for run in self._running]

    @property
    def room(self) -> int:
        """Slots that are free."""
        return len(self._free)

    def start(self, task: Task, adapter: Prepared | None) -> None:
        """Give a task a slot.

        Raises:
            InvalidInput: with the adapter's virtual tokens the prompt does not fit, it does
                not fit the base, or the schema cannot be followed.
        """
        request = task.request
        virtual = 0 if adapter is None else adapter.virtual_tokens
        room = self._runner.length - len(task.prompt) - virtual
        if room < 1:
            raise InvalidInput(
                f"The prompt has {len(task.prompt)} tokens; with {virtual} of the adapter there is "
                f"no room for an answer in {self._runner.length}",
                todo="Shorten the brief.",
            )
        task.limit = min(task.limit, room)
        prompted = adapter is not None and adapter.prompted
        ids = [-1 - at for at in range(virtual)] if prompted else []
        ids += task.prompt
        drawer = Drawer(
            sampling=request.sampling,
            logprobs=request.logprobs,
            constraint=self._grammars.grammar(request.json_schema),
        )
        drawer.note(task.prompt)
        slot = self._free[0]
        filled = self._runner.open(slot, adapter)
        heapq.heappop(self._free)
        digest = _digest(task, adapter)
        found = self._prefixes.find(digest, ids) if self._runner.takes_parts else []
        for number, block in enumerate(found):
            self._runner.copy_in(slot, filled + number * BLOCK, block)
        run = Running(
            task=task,
            digest=digest,
            slot=slot,
            ids=ids,
            prompt_length=len(ids),
            filled=filled,
            at=len(found) * BLOCK,
            cached=max(0, len(found) * BLOCK - len(ids) + len(task.prompt)),
            drawer=drawer,
            text=TextStream(self._base.tokenizer, request.stop),
            started=time.monotonic(),
        )
        self.counts["prompt_tokens"] += len(task.prompt)
        self.counts["cached_tokens"] += run.cached
        self.seconds["queued"] += run.started - task.submitted
        self._running.append(run)

    def step(self) -> None:
        """Run what is next of every text; end those that are done, cancelled or late."""
        for run in list(self._running):
            if (reason := run.task.reason_to_end()) is not None:
                self._end(run, reason, clean=True)
        chosen = self._choose()
        if not chosen:
            return
        began = time.perf_counter()
        logits_RV = self._runner.run([stretch for _, stretch in chosen])
        ran = time.perf_counter()
        writing: list[Running] = []
        for run, stretch in chosen:
            if run.prefilling:
                self.counts["prefilled_tokens"] += len(stretch.ids)
            run.at += len(stretch.ids)
            if stretch.wanted:
                writing.append(run)
        for run, drawn in zip(
            writing, draw(logits_RV, [run.drawer for run in writing], self._kernels), strict=True
        ):
            self._advance(run, drawn)
        self.counts["steps"] += 1
        self.seconds["running"] += ran - began
        self.seconds["drawing"] += time.perf_counter() - ran

    def free(self) -> None:
        """Let go of what ran it; afterwards only its counts may be asked for."""
        del self._runner, self._base, self._prefixes, self._grammars, self._names

    def fail(self, error: CopydeskError) -> None:
        """End everything with an error; the slots are not touched."""
        for run in self._running:
            run.task.end(error)
        self._running.clear()

    def _choose(self) -> list[tuple[Running, Stretch]]:
        """What runs now: texts under way first, then prompts, as many tokens as a step takes."""
        writing = [run for run in self._running if not run.prefilling]
        chosen = [
            (
                run,
                Stretch(slot=run.slot, ids=run.ids[-1:], start=run.filled + run.at, wanted=True),
            )
            for run in writing
        ]
        budget = self._prefill_tokens
        for run in self._running:
            if not run.prefilling or budget <= 0:
                continue
            left = run.prompt_length - run.at
            count = min(left, budget) if self._runner.takes_parts else left
            budget -= count
            stretch = Stretch(
                slot=run.slot,
                ids=run.ids[run.at : run.at + count],
                start=run.filled + run.at,
                wanted=count == left,
            )
            chosen.append((run, stretch))
        return chosen

    def _advance(self, run: Running, drawn: Drawn) -> None:
        """Take a row's next token."""
        task = run.task
        if not drawn.finite:
            self._end(
                run,
                Damaged(
                    "The text was lost: the model's numbers stopped being finite",
                    where=task.request.adapter.name if task.request.adapter else None,
                    todo="Train the adapter again.",
                ),
                clean=False,
            )
            return
        if drawn.failure is not None:
            self._end(run, drawn.failure)
            return
        if run.first is None:
            run.first = time.monotonic()
            self.counts["first_tokens"] += 1
            self.seconds["first_token"] += run.first - task.submitted
            self._keep_prefix(run)
        run.ids.append(drawn.token)
        self.counts["new_tokens"] += 1
        try:
            self._show(run, drawn)
        except Exception:  # noqa: BLE001 - a listener's fault is its own request's alone
            _LOG.exception("a listener failed; its request is cancelled")
            task.cancelled = True

    def _show(self, run: Running, drawn: Drawn) -> None:
        """Hand on what the token adds to the text, and end the text where it ends it."""
        task, stream = run.task, run.text
        ended = drawn.token in self._ends
        if task.request.logprobs is not None:
            run.held.append((drawn.token, drawn.logprob, drawn.top))
        text = stream.push(drawn.token)
        if run.drawer.constraint is not None:
            run.drawer.constraint.take(drawn.token)
            ended = ended or run.drawer.constraint.complete
        if stream.stopped:
            run.held.clear()
            task.show(Piece(text=text))
            self._end(run, "stop")
        elif ended or run.new >= task.limit:
            text += stream.finish()
            task.show(Piece(text=text, logprobs=self._logprobs(run)))
            self._end(run, "stop" if ended or stream.stopped else "length")
        elif text:
            task.show(Piece(text=text, logprobs=self._logprobs(run)))

    def _logprobs(self, run: Running) -> tuple[TokenLogprob, ...]:
        found: list[TokenLogprob] = []
        for token, logprob, top in run.held:
            text, raw = self._names.name(token)
            found.append(
                TokenLogprob(
                    token=text,
                    token_bytes=raw,
                    logprob=logprob,
                    top=tuple((*self._names.name(other), value) for other, value in top),
                )
            )
        run.held.clear()
        return tuple(found)

    def _keep_prefix(self, run: Running) -> None:
        """Keep the prompt's keys and values; only rows whose numbers were finite come here."""
        if not self._runner.takes_parts:
            return
        missing = self._prefixes.missing(run.digest, run.ids[: run.prompt_length])
        if not missing:
            return
        first, last = missing[0][1], missing[-1][1] + BLOCK
        found = self._runner.copy_out(run.slot, run.filled + first, run.filled + last)
        for key, start in missing:
            self._prefixes.put(key, found.part(start - first, start - first + BLOCK))

    def _end(self, run: Running, how: Any, *, clean: bool = True) -> None:
        self._running.remove(run)
        self._runner.close(run.slot, clean=clean)
        heapq.heappush(self._free, run.slot)
        self._on_end(run.task, run.at)
        if isinstance(how, CopydeskError):
            self.counts["failed"] += 1
            run.task.end(how)
        else:
            self.counts["finished"] += 1
            run.task.end(run.result(how))


def _digest(task: Task, adapter: Prepared | None) -> str:
    """What keys and values follow from, beside base and tokens."""
    return task.digest + (" merged" if adapter is not None and adapter.merged else "")


def _end_tokens(base: Base) -> frozenset[int]:
    """Tokens that end a text: the tokenizer's, and those that the base's own settings name."""
    stated: Any = getattr(base.model.generation_config, "eos_token_id", None)
    found = {base.tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])}
    return frozenset(token for token in found if isinstance(token, int))
