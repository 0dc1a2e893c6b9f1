"""`compare`: methods measured on held-out pages of one client or several, and kept."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from copydesk.corpus import material_example
from copydesk.desk._cells import CatalogueShelf
from copydesk.desk._comparisons import keep_comparison
from copydesk.desk._models import workspace_base
from copydesk.desk._place import DATASETS, Place, client_material, client_style_guide
from copydesk.desk._training import make_recipe
from copydesk.errors import InvalidInput
from copydesk.models import (
    BaseInfo,
    EncodedCache,
    find_method,
    load_tokenizer,
    pick_device,
)
from copydesk.records import Comparison, Example, Listener, Material
from copydesk.registry import versions
from copydesk.store import default_cache, held
from copydesk.study import (
    Machine,
    Question,
    Subject,
    Trained,
    compare,
    known_machine,
    this_machine,
)
from copydesk.train import RunSettings


def compare_methods(
    place: Place,
    clients: Sequence[str],
    *,
    methods: Sequence[str],
    settings: Mapping[str, Any],
    budget_seconds: float | None,
    seeds: int | None,
    sweep: bool,
    probe: bool | None,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Comparison:
    """Measure and keep; see `Workspace.compare`."""
    if not methods:
        raise InvalidInput("No method to compare", todo="Name some: --methods lora,full")
    if not clients:
        raise InvalidInput("No client to compare on", todo="Name one, or several to pool them.")
    if seeds is not None and not 1 <= seeds <= 100:
        raise InvalidInput(f"seeds is {seeds}", todo="Use 1 to 100.")
    if budget_seconds is not None and budget_seconds <= 0:
        raise InvalidInput(f"The budget is {budget_seconds} seconds", todo="Give it some: 20m")
    base = workspace_base(place)
    tokenizer = load_tokenizer(base)
    names = list(dict.fromkeys(methods))
    thorough = sweep or seeds is not None or budget_seconds is not None
    question = Question(
        subjects=tuple(
            _subject(place, client, names, settings, base, tokenizer)
            for client in dict.fromkeys(clients)
        ),
        seeds=seeds or 1,
        sweep=thorough,
        probe=thorough if probe is None else probe,
        budget_seconds=budget_seconds,
        hourly_usd=place.config.hourly_usd,
    )
    device = pick_device()
    with contextlib.ExitStack() as locks:
        for subject in question.subjects:
            locks.enter_context(held(place.locks, subject.client, doing="compares methods on it"))
            subject.folder.mkdir(parents=True, exist_ok=True)
        comparison = compare(
            question,
            device=device,
            machine=_machine(place, device, measure=thorough, listener=listener),
            shelf=CatalogueShelf(place),
            checkpoint_seconds=place.config.checkpoint_seconds,
            listener=listener,
            should_stop=should_stop,
        )
        keep_comparison(
            place,
            comparison,
            {
                f"{subject.client}/{recipe.method}": recipe.digest
                for subject in question.subjects
                for recipe in subject.recipes
            },
        )
    return comparison


def _machine(
    place: Place, device: torch.device, *, measure: bool, listener: Listener
) -> Machine | None:
    """This machine's card, to predict by; a quick comparison does not wait for it to be made."""
    cache = default_cache()
    if not measure:
        return known_machine(device, cache=cache)
    return this_machine(device, cache=cache, hourly_usd=place.config.hourly_usd, listener=listener)


def _subject(
    place: Place,
    client: str,
    methods: Sequence[str],
    settings: Mapping[str, Any],
    base: BaseInfo,
    tokenizer: PreTrainedTokenizerBase,
) -> Subject:
    recipes = tuple(
        make_recipe(place, client, name, _known(name, settings, methods), base, tokenizer)
        for name in methods
    )
    train, heldout = client_material(place, client)
    return Subject(
        client=client,
        train=_examples(train),
        heldout=_examples(heldout),
        others=_others(place, client),
        guide=client_style_guide(place, client),
        recipes=recipes,
        folder=place.runs_folder(client),
        trained=_trained(place, client),
        cache=EncodedCache(folder=place.cache_folder(client), base_digest=base.digest),
    )


def _known(method: str, settings: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """The settings that a method has; one that no compared method has stays, to be refused."""
    known = {name: _field_names(name) for name in methods}
    anywhere: set[str] = set().union(*known.values())
    return {
        key: value for key, value in settings.items() if key in known[method] or key not in anywhere
    }


def _field_names(method: str) -> set[str]:
    kinds: tuple[Any, ...] = (RunSettings, find_method(method).settings)
    return {field.name for kind in kinds for field in fields(kind)}


def _examples(material: Sequence[Material]) -> tuple[Example, ...]:
    return tuple(map(material_example, material))


def _others(place: Place, client: str) -> dict[str, tuple[Example, ...]]:
    return {
        row.name: _examples(client_material(place, row.name)[1])
        for row in place.catalogue.clients()
        if row.name != client and place.catalogue.latest(DATASETS, row.name) is not None
    }


def _trained(place: Place, client: str) -> dict[str, Trained]:
    """The client's adapters by the digest of their run; a comparison takes those of its recipes."""
    return {
        version.inputs["run"]: Trained(path=version.path, facts=version.facts)
        for version in versions(place.catalogue, client)
        if find_method(version.method).leaves == "adapter"
    }
