"""`train`: a version for each client, one after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from transformers import PreTrainedTokenizerBase

from copydesk.corpus import BRIEF_TEMPLATE_VERSION, material_example
from copydesk.desk._models import workspace_base
from copydesk.desk._place import Place, client_material, newest_dataset
from copydesk.desk._results import FailedClient, TrainedVersion, Training
from copydesk.errors import CopydeskError, NotEnoughText
from copydesk.evaluate import mean_loss_interval
from copydesk.models import (
    BaseInfo,
    EncodedCache,
    EncodedSet,
    encode_examples,
    find_method,
    load_tokenizer,
    pick_device,
    template_digest,
)
from copydesk.records import Listener
from copydesk.registry import Version, add_version
from copydesk.store import Artifact, held
from copydesk.train import (
    Recipe,
    Tuning,
    check_recipe,
    check_trackers,
    clear_run,
    make_settings,
    recipe_method,
    tune,
)

DEFAULT_METHOD = "lora"
"""What `auto` means: comparisons on small sets find it level with full fine-tuning, cheaper."""


def train_clients(
    place: Place,
    clients: Sequence[str],
    *,
    method: str,
    settings: Mapping[str, Any],
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Training:
    """Train each client; see `Workspace.train`."""
    base = workspace_base(place)
    named, settings = recipe_method(method, settings)
    chosen = DEFAULT_METHOD if named == "auto" else named
    tokenizer = load_tokenizer(base)
    recipes = {
        name: make_recipe(place, name, chosen, settings, base, tokenizer) for name in clients
    }
    made: list[TrainedVersion] = []
    failed: list[FailedClient] = []
    for client, recipe in recipes.items():
        try:
            with held(place.locks, client, doing="trains it"):
                made.append(_train_one(place, client, tokenizer, recipe, listener, should_stop))
        except CopydeskError as error:
            failed.append(FailedClient(client=client, error=error))
    return Training(versions=tuple(made), failed=tuple(failed))


def make_recipe(
    place: Place,
    client: str,
    method: str,
    settings: Mapping[str, Any],
    base: BaseInfo,
    tokenizer: PreTrainedTokenizerBase,
) -> Recipe:
    """The recipe of a client's run: workspace settings under the caller's.

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
        {"seed": place.config.seed, **place.config.settings.get(method, {}), **settings},
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
    listener: Listener,
    should_stop: Callable[[], bool],
) -> TrainedVersion:
    examples, heldout = _encoded(place, client, tokenizer, recipe)
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
    version = _store(place, client, tuning)
    clear_run(folder)
    result = tuning.result
    before = result.curve[0].heldout_loss
    assert before is not None
    return TrainedVersion(
        client=client,
        version=version.name,
        method=recipe.method,
        path=version.path,
        heldout_loss=version.facts["heldout_loss"],
        heldout_loss_before=before,
        train_seconds=result.seconds,
        tokens_per_second=result.tokens / result.seconds if result.seconds else 0.0,
        peak_memory_bytes=tuning.peak_memory_bytes,
        resumed_at=result.resumed_at,
        steps=result.steps,
        kept_step=result.kept_step,
        cut_examples=examples.cut,
        split_examples=examples.split,
        dropped_examples=examples.dropped,
    )


def _encoded(
    place: Place, client: str, tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> tuple[EncodedSet, EncodedSet]:
    """What to train on and what is held out, in the base's chat template.

    Raises:
        NotEnoughText: the limit on lengths leaves nothing of one of the two.
    """
    cache = EncodedCache(folder=place.cache_folder(client), base_digest=recipe.base.digest)
    run = recipe.run
    train, heldout = (
        encode_examples(
            tokenizer,
            [material_example(item) for item in part],
            max_length=run.max_length,
            overlong=overlong,
            cache=cache,
        )
        for part, overlong in zip(
            client_material(place, client), (run.overlong, "cut"), strict=True
        )
    )
    if not train.examples or not heldout.examples:
        raise NotEnoughText(
            f"No example of {client} to {'score' if train.examples else 'train on'} fits into "
            f"max_length={run.max_length} (overlong={run.overlong})",
            todo="Raise max_length, or use overlong=cut.",
        )
    return train, heldout


def _store(place: Place, client: str, tuning: Tuning) -> Version:
    """Write what the run leaves as an artifact, and list it."""
    recipe, result = tuning.recipe, tuning.result
    interval = mean_loss_interval(result.heldout)

    def fill(artifact: Artifact) -> None:
        tuning.save(artifact.path)
        artifact.facts.update(
            base=recipe.base.name,
            method=recipe.method,
            settings=dict(recipe.settings),
            dtype=str(recipe.dtype).removeprefix("torch."),
            trainable_parameters=tuning.tuned.trainable_parameters,
            heldout_loss=interval.value,
            heldout_loss_ci=[interval.low, interval.high],
            train_seconds=result.seconds,
            tokens=result.tokens,
            steps=result.steps,
            kept_step=result.kept_step,
            stopped_early=result.stopped_early,
            resumed_at=result.resumed_at,
            peak_memory_bytes=tuning.peak_memory_bytes,
            curve=[asdict(point) for point in result.curve],
        )

    return add_version(place.catalogue, client, recipe.inputs, fill)
