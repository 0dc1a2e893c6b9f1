"""`--method auto`: gather what is known of the clients, choose by it, and train so.

Gathering runs no model. Pages are tokenised, which training needs anyway and which is kept; free
memory is asked of the system; what methods took and gained is read from kept comparisons.
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from copydesk.corpus import material_example
from copydesk.desk._kept_choice import Chosen, kept_choice
from copydesk.desk._models import workspace_base
from copydesk.desk._place import DATASETS, Place, client_material, newest_dataset
from copydesk.desk._planning import DEFAULT_HARDWARE, plan_run
from copydesk.desk._results import Training
from copydesk.desk._training import clients_to_train, make_recipe, train_clients
from copydesk.desk._wishes import Wishes
from copydesk.errors import InvalidInput
from copydesk.models import (
    METHODS,
    BaseInfo,
    EncodedCache,
    encode_examples,
    load_tokenizer,
    pick_device,
)
from copydesk.records import Choice, Comparison, Listener, Plan, ignore_progress
from copydesk.store import json_digest
from copydesk.study import THIS, Forecast, Situation, choose, measured_forecasts, read_rules
from copydesk.train import (
    Recipe,
    RunSettings,
    free_bytes,
    plan_steps,
    recipe_method,
    used_bytes,
)

RULES_FILE = "rules.toml"
_MONTH_DAYS = 30.44
_REMEMBERED = 3
"""Months of datasets that the rate of updates is read from."""


def train_chosen(
    place: Place,
    clients: Sequence[str] | None,
    *,
    method: str,
    settings: Mapping[str, Any],
    stale: bool,
    memory: int | None,
    comparisons: Callable[[], Sequence[Comparison]],
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Training:
    """Train each client by the method named, or chosen once for all; see `Workspace.train`.

    A choice that runs under way were begun with is kept to. With `stale` or `memory`, which are of
    one pass over all clients, only what can run in a pass is a candidate.
    """
    named, rest = recipe_method(method, settings)
    chosen: Chosen | None = None
    if named == "auto":
        base = workspace_base(place)
        names = clients_to_train(place, clients, stale=stale, base=base)
        in_pass = stale or memory is not None
        wishes = Wishes(settings=rest, methods=("lora",) if in_pass else None)
        named = "lora"
        if names:
            chosen = _chosen(place, names, base, wishes, comparisons)
            named = chosen.choice.method
    return train_clients(
        place,
        clients,
        method=named,
        settings=rest,
        stale=stale,
        memory=memory,
        chosen=chosen,
        listener=listener,
        should_stop=should_stop,
    )


def choose_method(
    place: Place,
    clients: Sequence[str] | None,
    wishes: Wishes,
    comparisons: Sequence[Comparison],
    listener: Listener = ignore_progress,
) -> Choice:
    """The method for some clients, or for all that have pages; see `Workspace.choose`."""
    base = workspace_base(place)
    names = clients_to_train(place, clients, stale=False, base=base)
    if not names:
        raise InvalidInput("No client is named", todo="Name one, or leave it to all.")
    found = situation(place, names, base, wishes, comparisons, listener)
    choice = choose(found, read_rules(place.root / RULES_FILE))
    if wishes.hardware is None:
        return choice
    plan = _plan(place, choice.method, wishes, found.tokens, choice.settings, listener)
    return dataclasses.replace(choice, plan=plan)


def _chosen(
    place: Place,
    names: Sequence[str],
    base: BaseInfo,
    wishes: Wishes,
    comparisons: Callable[[], Sequence[Comparison]],
) -> Chosen:
    key = json_digest(
        {
            "base": base.digest,
            "datasets": {name: newest_dataset(place, name).digest for name in names},
            "settings": {name: str(value) for name, value in wishes.settings.items()},
            "methods": wishes.methods,
        }
    )
    choice = kept_choice(place, names, key)
    if choice is None:
        found = situation(place, names, base, wishes, comparisons())
        choice = choose(found, read_rules(place.root / RULES_FILE))
    return Chosen(choice=choice, key=key)


def situation(
    place: Place,
    names: Sequence[str],
    base: BaseInfo,
    wishes: Wishes,
    comparisons: Sequence[Comparison],
    listener: Listener = ignore_progress,
) -> Situation:
    """What is known of clients, without running a model.

    What methods take is predicted where hardware is named, for all of them alike; else it is what
    they took in comparisons here.

    Raises:
        UnknownName: no such client, or one has no pages.
        InvalidInput: a setting is out of range, or no method has it.
    """
    tokenizer = load_tokenizer(base)
    candidates = _candidates(place, names, wishes, base, tokenizer)
    run = next(iter(candidates.values())).run
    sizes = {name: _size(place, name, base, tokenizer, run) for name in names}
    largest = max(sizes, key=lambda name: sizes[name].tokens)
    size, device = sizes[largest], pick_device()
    losses = _untuned_losses(comparisons, base.name, names)
    plans = _plans(place, tuple(candidates), wishes, size.tokens, listener)
    free = free_bytes(device) + used_bytes(device)
    forecasts = measured_forecasts(comparisons, base=base.name, tokens=size.tokens)
    if plans:
        forecasts = {method: Forecast.of(found) for method, found in plans.items()}
        free = next((p.device_memory_bytes for p in plans.values() if p.hardware != THIS), free)
    return Situation(
        pages=size.pages,
        tokens=size.tokens,
        names=tuple(names),
        base=base.name,
        clients=max(len(names), _with_pages(place)),
        updates_month=wishes.updates_month
        if wishes.updates_month is not None
        else _updates_month(place, largest),
        epochs=size.epochs,
        batch_tokens=run.batch_tokens,
        memory_bytes=free if wishes.memory is None else min(wishes.memory, free),
        budget_seconds=wishes.budget_seconds,
        budget_usd=wishes.budget_usd,
        latency=wishes.latency,
        purpose=wishes.purpose,
        base_loss=losses[0],
        general_loss=losses[1],
        total_parameters=next((found.total_parameters for found in plans.values()), None),
        candidates=tuple(candidates),
        forecasts=forecasts,
        comparisons=tuple(comparisons),
    )


def _plans(
    place: Place, methods: Sequence[str], wishes: Wishes, tokens: int, listener: Listener
) -> dict[str, Plan]:
    """What each method would take; one that the base cannot have has no plan."""
    found: dict[str, Plan] = {}
    for method in methods if wishes.hardware is not None else ():
        with contextlib.suppress(InvalidInput):
            found[method] = _plan(place, method, wishes, tokens, {}, listener)
    return found


def _plan(
    place: Place,
    method: str,
    wishes: Wishes,
    tokens: int,
    suggested: Mapping[str, str],
    listener: Listener,
) -> Plan:
    return plan_run(
        place.config.base,
        method=method,
        hardware=wishes.hardware or DEFAULT_HARDWARE,
        settings={**suggested, **place.config.settings.get(method, {}), **wishes.settings},
        epoch_tokens=tokens,
        root=place.root,
        hourly_usd=place.config.hourly_usd,
        listener=listener,
    )


def _candidates(
    place: Place,
    names: Sequence[str],
    wishes: Wishes,
    base: BaseInfo,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Recipe]:
    """Methods that can be run with the settings that are given, each with the first one's recipe.

    Raises:
        UnknownName: no such client, or it has no pages.
        InvalidInput: no method can; says what is wrong with LoRA's, or the first candidate's.
    """
    found: dict[str, Recipe] = {}
    refused: InvalidInput | None = None
    for method in dict.fromkeys(wishes.methods or ("lora", *METHODS)):
        try:
            recipes = [
                make_recipe(place, name, method, wishes.settings, base, tokenizer) for name in names
            ]
        except InvalidInput as error:
            refused = refused or error
        else:
            found[method] = recipes[0]
    if refused is not None and not found:
        raise refused
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    pages: int
    tokens: int
    epochs: float
    """How often they will be seen, `max_steps` regarded."""


def _size(
    place: Place,
    client: str,
    base: BaseInfo,
    tokenizer: PreTrainedTokenizerBase,
    run: RunSettings,
) -> _Size:
    train, _ = client_material(place, client)
    encoded = encode_examples(
        tokenizer,
        [material_example(item) for item in train],
        max_length=run.max_length,
        overlong=run.overlong,
        cache=EncodedCache(folder=place.cache_folder(client), base_digest=base.digest),
    ).examples
    tokens = max(1, sum(len(example.ids) for example in encoded))
    steps = plan_steps(encoded, run) if encoded else []
    seen = sum(len(example.ids) for step in steps for example in step)
    return _Size(pages=len(train), tokens=tokens, epochs=seen / tokens)


def _with_pages(place: Place) -> int:
    """Clients that one base is to serve: all that have pages."""
    return sum(
        place.catalogue.latest(DATASETS, row.name) is not None for row in place.catalogue.clients()
    )


def _updates_month(place: Place, client: str) -> float | None:
    """How often the client's pages were curated anew; None where they were not yet."""
    entries = place.catalogue.entries(DATASETS, client)
    now = datetime.datetime.now(datetime.UTC)
    ages = [
        (now - datetime.datetime.fromisoformat(entry.created)).total_seconds() / 86400
        for entry in entries
    ]
    anew = sum(age <= _REMEMBERED * _MONTH_DAYS for age in ages[1:])
    months = min(_REMEMBERED, max(1.0, ages[0] / _MONTH_DAYS))
    return anew / months if anew else None


def _untuned_losses(
    comparisons: Sequence[Comparison], base: str, names: Sequence[str]
) -> tuple[float | None, float | None]:
    """The base's loss on these clients' pages and on general text, as last compared here."""
    found = [
        (comparison.created, row.heldout_loss, row.general_loss)
        for comparison in comparisons
        if comparison.base == base and set(names) & set(comparison.clients or (comparison.client,))
        for row in comparison.rows
        if row.method == "base"
    ]
    return max(found, key=lambda one: one[0])[1:] if found else (None, None)
