"""Many LoRA runs in one pass over one base, each as if it were alone.

In a round every member takes one optimiser step of its own: nobody waits while another gets more.
Micro-batches that fill the machine run by themselves, so that such a member does the very
arithmetic of a run by itself; short ones (below `SHORT`) are packed together. Each member has its
own data order, dropout, loss normalisation, clipping, optimiser, schedule, early stopping and
checkpoints; nothing of a run is shared but the base's weights. Checkpoints are those of runs by
themselves: a run that was begun in a pass goes on alone, and the other way round.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from copydesk.errors import Cancelled, CannotShare, CopydeskError, InvalidInput
from copydesk.models import (
    ATTENTION,
    Bank,
    Batch,
    Encoded,
    LoraSettings,
    Tuned,
    backward_each,
    free_memory,
    load_base,
    make_lanes,
    pack_families,
)
from copydesk.records import Listener, ignore_progress
from copydesk.train._capacity import (
    Need,
    free_bytes,
    measure_need,
    memory_errors,
    tokens_at_once,
    used_bytes,
)
from copydesk.train._memory import PeakMemory
from copydesk.train._metrics import TrackerName
from copydesk.train._session import Part, Session
from copydesk.train._tune import Recipe, Tuning, check_recipe

SHORT = 0.5
"""Share of a full micro-batch below which one is packed with other members'. Above, the machine is
filled: benchmarks/many_clients.py prints the rates by batch size."""
_SMALLER = "Use --memory to train fewer clients at once, or lower max_length."


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRun:
    """A run that takes part in a pass."""

    name: str
    recipe: Recipe
    examples: Sequence[Encoded]
    heldout: Sequence[Encoded]
    folder: Path
    """The run's own; gets checkpoints and `metrics.jsonl`."""
    task: str


@dataclass(slots=True)
class _Member:
    run: PassRun
    tuned: Tuned
    session: Session
    exit: contextlib.ExitStack

    def tuning(self, peak: PeakMemory, most: int) -> Tuning:
        """The finished run."""
        return Tuning(
            recipe=self.run.recipe,
            tuned=self.tuned,
            result=self.session.result(),
            peak_memory_bytes=peak.so_far(),
            clients_in_pass=most,
        )


@dataclass(frozen=True, slots=True)
class _Piece:
    """A member's micro-batch."""

    member: _Member
    part: Part

    @property
    def rows(self) -> int:
        return self.part.rows


def can_join(recipe: Recipe) -> bool:
    """Whether a recipe can run in a pass: LoRA that leaves the base as it is."""
    own = recipe.own
    return isinstance(own, LoraSettings) and own.init_lora_weights != "pissa"


def tune_together(
    runs: Sequence[PassRun],
    *,
    device: torch.device,
    finished: Callable[[str, Tuning], None],
    failed: Callable[[str, CopydeskError], None],
    memory: int | None = None,
    checkpoint_seconds: float = 60.0,
    trackers: Sequence[TrackerName] = (),
    listener: Listener = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
    cancelled: Callable[[str], bool] = lambda _: False,
) -> None:
    """Run recipes over one base in one pass, going on from their checkpoints.

    Args:
        runs: of one base, one number format; `can_join` holds for each.
        device: where to train.
        finished: called with each run as it ends, while its model is in memory, to save it.
        failed: called with each run that cannot go on, and why; the others go on.
        memory: bytes that the process may take; runs that do not fit at once wait for others.
            None is what the machine has free.
        checkpoint_seconds: time between a run's checkpoints.
        trackers: where figures go beside each run's `metrics.jsonl`.
        listener: receives an event for each step of each run.
        should_stop: asked after every round; true writes all checkpoints and raises
            KeyboardInterrupt.
        cancelled: asked in every round for each run; true ends it alone, with `Cancelled`.

    Raises:
        CannotShare: runs cannot be mixed on this base; each must run by itself.
        InvalidInput: `memory` does not suffice for one run; says the least that would.
        OutOfMemory: the memory does not suffice after all.
        KeyboardInterrupt: `should_stop` said so.
    """
    first = runs[0].recipe
    for run in runs:
        assert can_join(run.recipe)
        assert (run.recipe.base, run.recipe.dtype) == (first.base, first.dtype)
        check_recipe(run.recipe, device)
    free_memory()
    peak = PeakMemory(device)
    with peak.watching(), memory_errors("Training", device, _SMALLER):
        base = load_base(first.base, device=device, dtype=first.dtype, attention=ATTENTION)
        bank = Bank(base)
        crew = _Crew(
            bank=bank,
            waiting=list(runs),
            room=_Room(memory, device),
            open_session=lambda run, tuned, need: Session(
                tuned,
                run.examples,
                run.heldout,
                run=run.recipe.run,
                run_digest=run.recipe.digest,
                folder=run.folder,
                task=run.task,
                loss_before=None,
                checkpoint_seconds=checkpoint_seconds,
                trackers=trackers,
                listener=listener,
                need=need,
            ),
            failed=failed,
        )
        with contextlib.closing(crew):
            crew.admit()
            while crew.active:
                crew.drop(cancelled)
                crew.round(device)
                crew.see_off(
                    lambda member: finished(member.run.name, member.tuning(peak, crew.most))
                )
                if crew.active and should_stop():
                    crew.checkpoint()
                    raise KeyboardInterrupt
                crew.admit()


class _TooLittle(InvalidInput):
    """`memory` does not suffice for one run."""


class _Room:
    """How many members fit beside one another."""

    def __init__(self, limit: int | None, device: torch.device) -> None:
        self._limit = limit
        self._device = device
        self._fitted = False
        self._token: dict[LoraSettings, float] = {}
        self._left = False

    def leave(self) -> None:
        """A member is gone, and what it held may be given back."""
        self._left = True

    def check(self, tuned: Tuned, run: PassRun, others: int) -> Need | None:
        """What a fresh member needs, or None where it does not fit beside `others`.

        Raises:
            InvalidInput: it would not fit alone.
        """
        if self._left:
            free_memory()
            self._left = False
        own = run.recipe.own
        assert isinstance(own, LoraSettings)
        need = measure_need(tuned, run.examples, run.recipe.run, token=self._token.get(own))
        self._token[own] = need.token
        longest = max(len(example.ids) for example in run.examples)
        used = used_bytes(self._device)
        # Gradients and state of members that are here may not have been made yet.
        at_once = max(longest, tokens_at_once(self._device.type, run.recipe.run.batch_tokens))
        wanted = need.at(at_once) + others * (need.gradients + need.optimizer)
        if self._limit is None:
            return need if not others or wanted <= free_bytes(self._device) else None
        least = used + need.at(at_once)
        if others:
            return need if used + wanted <= self._limit else None
        # Once one has run, what the process keeps for itself is no reason to refuse the next.
        if not self._fitted and least > self._limit:
            raise _TooLittle(
                f"{run.name} needs {least / 1e9:.2f} GB, more than --memory allows",
                where=f"memory={self._limit / 1e9:.2f} GB",
                todo=f"The least that would do is {least / 1e9 + 0.01:.2f} GB.",
            )
        self._fitted = True
        return need


@dataclass(slots=True, kw_only=True)
class _Crew:
    """Who is in the pass, who waits, and what happens to those who leave."""

    bank: Bank
    waiting: list[PassRun]
    room: _Room
    open_session: Callable[[PassRun, Tuned, Need], Session]
    failed: Callable[[str, CopydeskError], None]
    active: list[_Member] = field(default_factory=list[_Member])
    most: int = 0
    """Members that there were at once, at most."""
    vacancy: bool = True
    """Somebody has left since a run was told to wait."""

    def admit(self) -> None:
        """Let waiting runs join while they fit.

        Raises:
            CannotShare, InvalidInput: as `tune_together`.
        """
        while self.waiting and self.vacancy:
            run = self.waiting[0]
            try:
                fits = self._join(run)
            except (CannotShare, _TooLittle):
                raise
            except CopydeskError as error:
                fits = True
                self.failed(run.name, error)
            if fits:
                self.waiting.pop(0)
            else:
                self.vacancy = False

    def _join(self, run: PassRun) -> bool:
        """Let a run join; false when it must wait."""
        own = run.recipe.own
        assert isinstance(own, LoraSettings)
        tuned = self.bank.add(run.name, own, run.recipe.run.seed)
        with contextlib.ExitStack() as stack:
            stack.callback(self.bank.remove, run.name)
            need = self.room.check(tuned, run, len(self.active))
            if need is None:
                return False
            session = stack.enter_context(self.open_session(run, tuned, need))
            self.active.append(_Member(run, tuned, session, stack.pop_all()))
        self.most = max(self.most, len(self.active))
        return True

    def round(self, device: torch.device) -> None:
        """One optimiser step for every member.

        Each takes it as soon as its own gradients are complete, so that those of a few are in
        memory at once; what follows a step waits until nothing runs beside it.
        """
        members = [member for member in self.active if not member.session.done]
        pieces = [_Piece(member, part) for member in members for part in member.session.parts()]
        left = Counter(piece.member.run.name for piece in pieces)
        seconds = dict.fromkeys(left, 0.0)
        losses = dict.fromkeys(left, 0.0)
        errors: dict[str, CopydeskError] = {}
        if pieces:
            rows = sum(piece.rows for piece in pieces)
            # As many tokens as one of them runs at once, for a pass holds the state of all.
            lanes = make_lanes(members[0].tuned, max(one.session.micro for one in members))
            if not members[0].tuned.model.training:
                members[0].tuned.model.train()
            mixes = _mixed(pieces, lanes.tokens)
            began = time.perf_counter()
            for number, found in backward_each([_batch(mix, device) for mix in mixes], lanes):
                for piece, loss in zip(mixes[number], found, strict=True):
                    name = piece.member.run.name
                    losses[name] += loss
                    left[name] -= 1
                    if not left[name]:
                        try:
                            piece.member.session.apply(losses[name])
                        except CopydeskError as error:
                            errors[name] = error
            took = time.perf_counter() - began
            for piece in pieces:
                seconds[piece.member.run.name] += took * piece.rows / rows
            members[0].tuned.model.eval()  # for all who are scored now
        for member in members:
            self.attempt(member, partial(self._record, member, losses, seconds, errors))

    def _record(
        self,
        member: _Member,
        losses: Mapping[str, float],
        seconds: Mapping[str, float],
        errors: Mapping[str, CopydeskError],
    ) -> None:
        name = member.run.name
        if name in errors:
            raise errors[name]
        member.session.record(losses[name], seconds[name])

    def drop(self, cancelled: Callable[[str], bool]) -> None:
        """End the runs that were cancelled."""
        for member in list(self.active):
            if cancelled(member.run.name):
                member.session.checkpoint()
                self.remove(member)
                self.failed(
                    member.run.name,
                    Cancelled(
                        f"Training of {member.run.name} was cancelled",
                        todo="Train it again: it goes on from its checkpoint.",
                    ),
                )

    def see_off(self, save: Callable[[_Member], None]) -> None:
        """Save what members have that have nothing left to train, and let them leave."""
        for member in [member for member in self.active if member.session.done]:
            self.attempt(member, lambda leaving=member: save(leaving))
            self.remove(member)

    def checkpoint(self) -> None:
        """Write a checkpoint of every run."""
        for member in self.active:
            member.session.checkpoint()

    def attempt(self, member: _Member, act: Callable[[], None]) -> None:
        """Do something for a member; an error ends this member alone."""
        try:
            act()
        except CopydeskError as error:
            self.remove(member)
            self.failed(member.run.name, error)

    def remove(self, member: _Member) -> None:
        """Take a member out; harmless when it is out already."""
        if member in self.active:
            self.active.remove(member)
            self.vacancy = True
            member.exit.close()
            self.room.leave()

    def close(self) -> None:
        """End all sessions, leaving their checkpoints."""
        for member in self.active:
            member.exit.close()


def _mixed(pieces: Sequence[_Piece], most: int) -> list[list[_Piece]]:
    """Who goes together: pieces that fill the machine alone, short ones side by side, in order."""
    mixes: list[list[_Piece]] = []
    short: list[_Piece] = []
    room = most
    for piece in pieces:
        if piece.rows >= most * SHORT:
            mixes.append([piece])
            continue
        if not short or piece.rows > room:
            short = []
            mixes.append(short)
            room = most
        short.append(piece)
        room -= piece.rows
    return mixes


def _batch(mix: Sequence[_Piece], device: torch.device) -> Batch:
    return Batch(
        tuned=mix[0].member.tuned,
        packed=pack_families([one for piece in mix for one in piece.part.families]).to(device),
        shares=tuple(piece.part.share for piece in mix),
        parameters=tuple(
            weight
            for member in {piece.member.run.name: piece.member for piece in mix}.values()
            for weight in member.tuned.parameters.values()
        ),
    )
