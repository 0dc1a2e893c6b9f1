"""`compare`: methods measured on a client's held-out pages, and kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from copydesk.corpus import material_example
from copydesk.desk._models import workspace_base
from copydesk.desk._place import DATASETS, Place, client_material, client_style_guide
from copydesk.desk._training import make_recipe
from copydesk.errors import InvalidInput
from copydesk.models import EncodedCache, find_method, load_tokenizer, pick_device
from copydesk.records import Comparison, Example, Listener, LossPoint, Material, MethodRow
from copydesk.registry import versions
from copydesk.store import Artifact, held, json_bytes, open_artifact, read_json
from copydesk.study import Question, Trained, compare
from copydesk.train import Recipe, RunSettings, clear_run

KIND = "comparisons"


def compare_methods(
    place: Place,
    client: str,
    *,
    methods: Sequence[str],
    settings: Mapping[str, Any],
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Comparison:
    """Measure and keep; see `Workspace.compare`."""
    if not methods:
        raise InvalidInput("No method to compare", todo="Name some: --methods lora,full")
    base = workspace_base(place)
    names = list(dict.fromkeys(methods))
    tokenizer = load_tokenizer(base)
    recipes = tuple(
        make_recipe(place, client, name, _known(name, settings, names), base, tokenizer)
        for name in names
    )
    train_pages, heldout_pages = client_material(place, client)
    question = Question(
        client=client,
        train=_examples(train_pages),
        heldout=_examples(heldout_pages),
        others=_others(place, client),
        guide=client_style_guide(place, client),
        recipes=recipes,
        trained=_trained(place, client, recipes),
        hourly_usd=place.config.hourly_usd,
        cache=EncodedCache(folder=place.cache_folder(client), base_digest=base.digest),
    )
    folder = place.runs_folder(client)
    folder.mkdir(parents=True, exist_ok=True)
    with held(place.locks, client, doing="compares methods on it"):
        comparison = compare(
            question,
            device=pick_device(),
            folder=folder,
            checkpoint_seconds=place.config.checkpoint_seconds,
            listener=listener,
            should_stop=should_stop,
        )
        _keep(place, comparison, {recipe.method: recipe.digest for recipe in recipes})
        for recipe in recipes:
            clear_run(folder / recipe.digest[:16])
    return comparison


def newest_comparisons(place: Place) -> tuple[Comparison, ...]:
    """The newest comparison of each client that has one."""
    found = [
        entry
        for row in place.catalogue.clients()
        if (entry := place.catalogue.latest(KIND, row.name)) is not None
    ]
    return tuple(_comparison(read_json(entry.path / "comparison.json")) for entry in found)


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


def _trained(place: Place, client: str, recipes: Sequence[Recipe]) -> dict[str, Trained]:
    """Adapters that the client already has from one of these very recipes."""
    wanted = {recipe.digest for recipe in recipes if find_method(recipe.method).leaves == "adapter"}
    found = {
        version.inputs["run"]: Trained(path=version.path, facts=version.facts)
        for version in versions(place.catalogue, client)
        if version.inputs["run"] in wanted
    }
    for adapter in found.values():
        open_artifact(adapter.path)
    return found


def _keep(place: Place, comparison: Comparison, runs: Mapping[str, str]) -> None:

    def fill(artifact: Artifact) -> None:
        (artifact.path / "comparison.json").write_bytes(json_bytes(asdict(comparison)))

    place.catalogue.make(kind=KIND, client=comparison.client, inputs=runs, fill=fill)


def _comparison(raw: Any) -> Comparison:
    return Comparison(**(raw | {"rows": tuple(_row(row) for row in raw["rows"])}))


def _row(raw: Any) -> MethodRow:
    pairs = {
        key: tuple(raw[key]) if raw[key] is not None else None
        for key in ("heldout_loss_ci", "relative_performance_ci")
    }
    curve = tuple(LossPoint(**point) for point in raw["curve"])
    return MethodRow(**(raw | pairs | {"curve": curve}))
