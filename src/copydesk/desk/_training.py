"""`train`: a version for each client, in one pass where the method allows it."""

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from copydesk.corpus import BRIEF_TEMPLATE_VERSION
from copydesk.desk._kept_choice import Chosen, forget_choice, keep_choice
from copydesk.desk._models import workspace_base
from copydesk.desk._pass import is_stale, train_in_pass
from copydesk.desk._place import DATASETS, Place, newest_dataset
from copydesk.desk._results import FailedClient, TrainedVersion, Training
from copydesk.desk._versions import encode_client, write_outcome
from copydesk.errors import Cancelled, CannotShare, CopydeskError, UnknownName
from copydesk.models import (
    BaseInfo,
    find_method,
    load_tokenizer,
    pick_device,
    template_digest,
)
from copydesk.records import Choice, Listener
from copydesk.store import held
from copydesk.train import (
    Recipe,
    can_join,
    check_recipe,
    check_trackers,
    clear_run,
    make_settings,
    tune,
)


def train_clients(
    place: Place,
    clients: Sequence[str] | None,
    *,
    method: str,
    settings: Mapping[str, Any],
    stale: bool,
    memory: int | None,
    chosen: Chosen | None,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Training:
    """Train each client by `method`, which is the one `chosen` where there was a choice.

    What was chosen of settings stands below the workspace's and the caller's.
    """
    base = workspace_base(place)
    tokenizer = load_tokenizer(base)
    names = clients_to_train(place, clients, stale=stale, base=base)
    choice = chosen.choice if chosen else None
    recipes = {
        name: make_recipe(
            place,
            name,
            method,
            settings,
            base,
            tokenizer,
            suggested=choice.settings if choice else {},
        )
        for name in names
    }
    if chosen:
        keep_choice(place, names, chosen)
    able = {name: recipe for name, recipe in recipes.items() if can_join(recipe)}
    dtype = next((recipe.dtype for recipe in able.values()), None)
    joining = {name: recipe for name, recipe in able.items() if recipe.dtype == dtype}
    done = Training(versions=(), failed=())
    if len(joining) > 1 or (stale and joining) or (memory is not None and joining):
        with contextlib.suppress(CannotShare):  # then one after another
            done = train_in_pass(
                place,
                joining,
                tokenizer,
                memory=memory,
                together=stale,
                choice=choice,
                listener=listener,
                should_stop=should_stop,
            )
            recipes = {name: recipe for name, recipe in recipes.items() if name not in joining}
    made, failed = list(done.versions), list(done.failed)
    for client, recipe in recipes.items():
        try:
            with held(place.locks, client, doing="trains it"):
                made.append(
                    _train_one(place, client, tokenizer, recipe, choice, listener, should_stop)
                )
        except CopydeskError as error:
            failed.append(FailedClient(client=client, error=error))
    going_on = {item.client for item in failed if isinstance(item.error, Cancelled)}
    forget_choice(place, [name for name in names if name not in going_on])
    return Training(versions=tuple(made), failed=tuple(failed), choice=choice)


def clients_to_train(
    place: Place, clients: Sequence[str] | None, *, stale: bool, base: BaseInfo
) -> list[str]:
    """The named clients, or all that have pages; with `stale` only those of another base.

    Raises:
        UnknownName: none is named, and none has pages.
    """
    names = _with_pages(place) if clients is None else list(dict.fromkeys(clients))
    return [name for name in names if not stale or is_stale(place, name, base.digest)]


def _with_pages(place: Place) -> list[str]:
    """All clients that have pages to train on.

    Raises:
        UnknownName: none has.
    """
    rows = place.catalogue.clients()
    found = [row.name for row in rows if place.catalogue.latest(DATASETS, row.name) is not None]
    if not found:
        raise UnknownName(
            "No client has pages yet", todo="Add some with: copydesk curate CLIENT FILE"
        )
    return found


def make_recipe(
    place: Place,
    client: str,
    method: str,
    settings: Mapping[str, Any],
    base: BaseInfo,
    tokenizer: PreTrainedTokenizerBase,
    *,
    suggested: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe of a client's run: suggested settings, under the workspace's, under the caller's.

    Raises:
        UnknownName: no such client or method, or it has no pages.
        InvalidInput: a setting cannot be used.
    """
    chosen = find_method(method)
    for section in place.config.settings:
        find_method(section)
    dataset = newest_dataset(place, client)
    run, own = make_settings(
        method,
        {
            **(suggested or {}),
            "seed": place.config.seed,
            **place.config.settings.get(method, {}),
            **place.config.client_settings.get(client, {}).get(method, {}),
            **settings,
        },
    )
    check_trackers(place.config.metrics)
    recipe = Recipe(
        base=base,
        dataset_digest=dataset.digest,
        template_digest=f"{template_digest(tokenizer)}/brief-{BRIEF_TEMPLATE_VERSION}",
        method=method,
        run=run,
        own=own,
        dtype=chosen.dtype(run.dtype, pick_device()),
    )
    return check_recipe(recipe, pick_device())


def _train_one(
    place: Place,
    client: str,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    choice: Choice | None,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> TrainedVersion:
    examples, heldout = encode_client(place, client, tokenizer, recipe)
    folder = place.runs_folder(client) / recipe.digest[:16]
    tuning = tune(
        recipe,
        examples.examples,
        heldout.examples,
        device=pick_device(),
        folder=folder,
        task=f"train {client} ({find_method(recipe.method).label})",
        checkpoint_seconds=place.config.checkpoint_seconds,
        trackers=place.config.metrics,
        listener=listener,
        should_stop=should_stop,
    )
    finished = folder / "finished"
    shutil.rmtree(finished, ignore_errors=True)
    version = write_outcome(finished, client, tuning, examples, choice).list_in(place.catalogue)
    shutil.rmtree(finished, ignore_errors=True)
    clear_run(folder)
    return version
