"""Many clients trained in one pass, each listed as it ends, or all at once."""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from copydesk.desk._place import Place
from copydesk.desk._results import FailedClient, TrainedVersion, Training
from copydesk.desk._versions import Outcome, encode_client, read_outcome, write_outcome
from copydesk.errors import CopydeskError, Damaged, InvalidInput
from copydesk.models import EncodedSet, pick_device
from copydesk.records import Choice, Listener
from copydesk.registry import versions
from copydesk.store import held
from copydesk.train import PassRun, Recipe, Tuning, clear_run, tune_together

_STAGED = "finished"


def train_in_pass(
    place: Place,
    recipes: Mapping[str, Recipe],
    tokenizer: PreTrainedTokenizerBase,
    *,
    memory: int | None,
    together: bool,
    choice: Choice | None = None,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Training:
    """Train the clients of `recipes` in one pass.

    Args:
        place: the workspace.
        recipes: client -> recipe; all on one base.
        tokenizer: the base's.
        memory: bytes that the process may take; None is what is free.
        together: list no version before all are there and each has lowered the loss on its own
            held-out pages. What was trained is kept aside, and a later call goes on with it.
        choice: how the method was chosen, for the versions' facts.
        listener: receives progress.
        should_stop: asked after every round.

    Raises:
        CannotShare: the base cannot train several clients at once.
        InvalidInput: `memory` does not suffice for one client.
    """
    outcomes: dict[str, Outcome] = {}
    failed: dict[str, CopydeskError] = {}
    sets: dict[str, EncodedSet] = {}
    made: list[TrainedVersion] = []
    runs: list[PassRun] = []
    with contextlib.ExitStack() as locks:
        for client, recipe in recipes.items():
            try:
                locks.enter_context(held(place.locks, client, doing="trains it"))
                sets[client], heldout = encode_client(place, client, tokenizer, recipe)
                if outcome := _kept(_staged(place, client, recipe), client, recipe):
                    outcomes[client] = outcome
                    continue
            except CopydeskError as error:
                failed[client] = error
                continue
            runs.append(
                PassRun(
                    name=client,
                    recipe=recipe,
                    examples=sets[client].examples,
                    heldout=heldout.examples,
                    folder=_folder(place, client, recipe),
                    task=f"train {client} (LoRA)",
                )
            )

        def finished(client: str, tuning: Tuning) -> None:
            staged = _staged(place, client, tuning.recipe)
            outcomes[client] = write_outcome(staged, client, tuning, sets[client], choice)
            if not together:
                made.append(_list(place, outcomes.pop(client)))

        if runs:
            tune_together(
                runs,
                device=pick_device(),
                finished=finished,
                failed=failed.__setitem__,
                memory=memory,
                checkpoint_seconds=place.config.checkpoint_seconds,
                trackers=place.config.metrics,
                listener=listener,
                should_stop=should_stop,
            )
        if together:
            failed |= {name: _no_gain(item) for name, item in outcomes.items() if not item.gains}
        if not (together and failed):
            made += [_list(place, outcome) for outcome in outcomes.values()]
        else:
            held_back = outcomes.keys() - failed.keys()
            failed |= {name: _held_back(name, next(iter(failed))) for name in held_back}
    order = list(recipes)
    return Training(
        versions=tuple(sorted(made, key=lambda version: order.index(version.client))),
        failed=tuple(
            FailedClient(client=name, error=failed[name]) for name in order if name in failed
        ),
    )


def is_stale(place: Place, client: str, base_digest: str) -> bool:
    """Whether the client's newest adapter is bound to another base than the workspace's."""
    adapters = [item for item in versions(place.catalogue, client) if "base" in item.inputs]
    return bool(adapters) and adapters[-1].inputs["base"] != base_digest


def _list(place: Place, outcome: Outcome) -> TrainedVersion:
    version = outcome.list_in(place.catalogue)
    clear_run(outcome.folder.parent)
    shutil.rmtree(outcome.folder, ignore_errors=True)
    return version


def _folder(place: Place, client: str, recipe: Recipe) -> Path:
    return place.runs_folder(client) / recipe.digest[:16]


def _staged(place: Place, client: str, recipe: Recipe) -> Path:
    return _folder(place, client, recipe) / _STAGED


def _kept(staged: Path, client: str, recipe: Recipe) -> Outcome | None:
    """What an earlier call left, if it is whole."""
    if not staged.exists():
        return None
    try:
        return read_outcome(staged, client, recipe)
    except Damaged:
        shutil.rmtree(staged)
        return None


def _no_gain(outcome: Outcome) -> InvalidInput:
    return InvalidInput(
        f"{outcome.client}'s new adapter is no better than the base on its held-out pages "
        f"({outcome.heldout_loss:.3f} against {outcome.heldout_loss_before:.3f})",
        todo="Nothing was replaced. Train it with more pages or another learning rate.",
    )


def _held_back(client: str, other: str) -> InvalidInput:
    return InvalidInput(
        f"{client}'s new adapter is ready and held back, because {other}'s is not",
        todo="Run the same command again once that is mended: it goes on from here.",
    )
