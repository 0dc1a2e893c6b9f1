"""The workspace's verbs about models: train, plan, choose, compare, export."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copydesk.desk._bases import pull_base
from copydesk.desk._comparisons import newest_comparisons
from copydesk.desk._config import Config
from copydesk.desk._place import PathLike, Place
from copydesk.desk._planning import DEFAULT_HARDWARE, plan_run
from copydesk.desk._results import Foundation, Training
from copydesk.desk._serving import Serving, VllmWish
from copydesk.desk._supervisor import Event
from copydesk.desk._wishes import Wishes
from copydesk.records import (
    Choice,
    Comparison,
    Listener,
    Plan,
    ignore_progress,
)

if TYPE_CHECKING:
    from copydesk.desk._exporting import Exported
    from copydesk.desk._importing import Imported
    from copydesk.models import BaseInfo


class ModelVerbs:
    """What a workspace does with models. These import torch, which takes seconds, when called."""

    root: Path
    config: Config
    _place: Place

    def pull_base(self, *, listener: Listener = ignore_progress) -> "BaseInfo":
        """Make the workspace's base available. See `pull_base`."""
        return pull_base(self.config.base, listener=listener)

    def train(
        self,
        clients: Sequence[str] | None,
        *,
        method: str = "auto",
        settings: Mapping[str, Any] | None = None,
        stale: bool = False,
        memory: int | None = None,
        listener: Listener = ignore_progress,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Training:
        """Train a version for each client. A run that was cut off goes on from its checkpoint.

        Several clients by `lora` train in one pass over one base, each as it would alone.

        Args:
            clients: names; each has pages. None is every client that has.
            method: one of `models.METHODS`, or `auto`: chosen once for all clients, see `choose`.
            settings: over the workspace's, the client's, the choice's and the method's defaults,
                e.g. `{"lora_r": 8}`, or what `copydesk.read_recipe` gives, which names the method
                too.
            stale: only clients whose newest adapter is bound to another base than the
                workspace's. Their new versions are listed all at once, when each has lowered the
                loss on its own held-out pages, or not at all.
            memory: bytes that the process may take; clients that do not fit at once wait.
            listener: receives progress.
            should_stop: asked after every step; true writes a checkpoint and ends.

        Raises:
            UnknownName: an unknown client, method or base, before anything is trained.
            InvalidInput: a setting is unknown or out of range, or `memory` is too little.

        What goes wrong with one client is in the result's `failed`; the others go on.
        """
        from copydesk.desk._choosing import train_chosen

        return train_chosen(
            self._place,
            clients,
            method=method,
            settings=settings or {},
            stale=stale,
            memory=memory,
            comparisons=self.comparisons,
            listener=listener,
            should_stop=should_stop,
        )

    def train_foundation(
        self,
        *,
        sources: Sequence[str] | None = None,
        name: str | None = None,
        mix: float = 0.1,
        general: PathLike | None = None,
        most_forgetting: float = 0.1,
        settings: Mapping[str, Any] | None = None,
        listener: Listener = ignore_progress,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Foundation:
        """Fully fine-tune the base on pages with a recorded right to train, as a new base.

        It becomes a base of the workspace only when its gates pass. Name it as `base` in
        `copydesk.toml`, and `train(None, stale=True)` trains the clients' adapters on it.

        Args:
            sources: clients whose newest datasets are used; None is all.
            name: of the new base; by default `foundation-N`.
            mix: share of general chats among the tokens. No chat is used more than four times, so
                that a small set may give less.
            general: chats of the caller's own to mix in, as JSON lines; by default half of those
                that ship with Copydesk, the other half of which measures forgetting.
            most_forgetting: the most that the loss on general chats may rise, in nats a token.
            settings: of full fine-tuning, e.g. `{"epochs": 1}`.
            listener: receives progress.
            should_stop: asked after every step; true writes a checkpoint and ends.

        Raises:
            UnknownName: no such client or base.
            NotEnoughText: too few pages have a recorded right.
            AlreadyThere: there is a base of that name.
            InvalidInput: a setting, or the general data, cannot be used.
        """
        from copydesk.desk._foundation import train_foundation

        return train_foundation(
            self._place,
            sources=sources,
            name=name,
            mix=mix,
            general=Path(general).expanduser() if general is not None else None,
            most_forgetting=most_forgetting,
            settings=settings or {},
            listener=listener,
            should_stop=should_stop,
        )

    def choose(
        self,
        clients: Sequence[str] | None = None,
        wishes: Wishes | None = None,
        *,
        listener: Listener = ignore_progress,
    ) -> Choice:
        """The method that suits some clients, with settings and reasons. No model is run.

        It rests on their pages, how often these were curated anew, the number of clients, memory,
        and the comparisons kept here, which outweigh publications. `rules.toml` in the workspace
        adds rules to `study/rules.toml`, or replaces them.

        Args:
            clients: names; None is every client that has pages.
            wishes: settings, limits and hardware to regard.
            listener: receives progress while this machine is measured.

        Raises:
            UnknownName: no such client, or one has no pages.
            InvalidInput: no method can be used, or the rules cannot be read; says why.
            OutOfMemory: no method fits into memory.
        """
        from copydesk.desk._choosing import choose_method

        return choose_method(self._place, clients, wishes or Wishes(), self.comparisons(), listener)

    def compare(
        self,
        clients: str | Sequence[str],
        *,
        methods: Sequence[str] = ("lora", "full"),
        settings: Mapping[str, Any] | None = None,
        budget_seconds: float | None = None,
        seeds: int | None = None,
        sweep: bool = False,
        probe: bool | None = None,
        listener: Listener = ignore_progress,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Comparison:
        """Measure methods on held-out pages, beside the base untuned and prompted.

        By default each method runs once, at its own rate, as quickly as can be. With `sweep`,
        `seeds` or `budget_seconds` the comparison is thorough: each method's learning rate is
        looked for first, on training pages set aside. A version is used for its method when it was
        trained by the same recipe. Every run is kept as a cell, and the result in the workspace:
        what was measured before is not measured again, and a comparison that was cut off goes on.
        Rows say what the plan predicted, too: a thorough comparison measures this machine for that
        where no plan did before, a quick one leaves it out then.

        Args:
            clients: one, or several, which are pooled: every method runs on each.
            methods: names of tuning methods.
            settings: over the workspace's, the clients' and the methods' defaults.
            budget_seconds: time that this call may take. A method that it ends keeps its row, as
                `cut`; the same call goes on with it.
            seeds: final runs of each method and client.
            sweep: look for each method's learning rate; on where `seeds` or a budget is given.
            probe: try instructions and time generation; by default in thorough comparisons.
            listener: receives progress.
            should_stop: asked after every step; true writes a checkpoint and ends.

        Raises:
            UnknownName: no such client or method, or a client has no pages.
            InvalidInput: a setting cannot be used, or there is nothing to compare.
        """
        from copydesk.desk._comparing import compare_methods

        return compare_methods(
            self._place,
            [clients] if isinstance(clients, str) else clients,
            methods=methods,
            settings=settings or {},
            budget_seconds=budget_seconds,
            seeds=seeds,
            sweep=sweep,
            probe=probe,
            listener=listener,
            should_stop=should_stop,
        )

    def plan(
        self,
        model: str | None = None,
        *,
        method: str = "lora",
        hardware: str = DEFAULT_HARDWARE,
        settings: Mapping[str, Any] | None = None,
        epoch_tokens: int | None = None,
        listener: Listener = ignore_progress,
    ) -> Plan:
        """Predict a run with the workspace's base and settings, and hardware cards of its own.

        Arguments and errors are those of `copydesk.desk.plan_run`; `model` is by default the
        workspace's base.
        """
        return plan_run(
            model or self.config.base,
            method=method,
            hardware=hardware,
            settings={**self.config.settings.get(method, {}), **(settings or {})},
            epoch_tokens=epoch_tokens,
            root=self.root,
            hourly_usd=self.config.hourly_usd,
            listener=listener,
        )

    def comparisons(self) -> tuple[Comparison, ...]:
        """The newest comparison of each client, and of each group of clients that was pooled."""
        return newest_comparisons(self._place)

    def export(self, ref: str, *, to: str, folder: PathLike) -> Path:
        """Copy a version out; see `export_version`. Returns where it is."""
        return self.export_version(ref, to=to, folder=folder).path

    def export_version(self, ref: str, *, to: str, folder: PathLike) -> "Exported":
        """Copy a version out: `peft`, its adapter's folder; `merged`, a base of its own, with the
        measured difference from the unmerged; `bundle`, a signed file for another workspace.

        Raises:
            UnknownName: no such version.
            InvalidInput: it cannot leave in that form.
            AlreadyThere: the folder exists.
        """
        from copydesk.desk._exporting import export_version

        return export_version(self._place, ref, to=to, folder=Path(folder).expanduser())

    def serve_embedded(
        self,
        settings: Mapping[str, Any],
        told: Callable[[Event, str], None],
        *,
        dtype: str = "auto",
    ) -> Serving:
        """Start the embedded engine over the workspace's base; see `desk._engines`."""
        from copydesk.desk._engines import serve_embedded

        return serve_embedded(self._place, settings, told, dtype=dtype)

    def serve_vllm(self, wish: VllmWish, told: Callable[[Event, str], None]) -> Serving:
        """Reach a vLLM, or start one, over the workspace's base; see `desk._engines`."""
        from copydesk.desk._engines import serve_vllm

        return serve_vllm(self._place, wish, told)

    def import_version(
        self, file: PathLike, *, client: str | None = None, trust: str | None = None
    ) -> "Imported":
        """Make the version in a bundle the next one of a client, once all of it is verified.

        Args:
            file: the bundle.
            client: whose version it becomes; by default the client that the bundle names.
            trust: fingerprint of the key that it may be signed by, beside those trusted here.

        Raises:
            InvalidInput: it is no bundle, holds what it may not, or its signer is not trusted.
            Damaged: something of it is not what was signed.
            WrongBase: it was trained on a base that is not here.
            AlreadyThere: the client has this version.
        """
        from copydesk.desk._importing import import_version

        return import_version(self._place, Path(file).expanduser(), client=client, trust=trust)
