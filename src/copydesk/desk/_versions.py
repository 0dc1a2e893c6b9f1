"""From a client's dataset to encoded examples, and from a finished run to a version."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from copydesk.corpus import material_example
from copydesk.desk._place import Place, client_material, newest_dataset
from copydesk.desk._results import TrainedVersion
from copydesk.errors import NotEnoughText
from copydesk.evaluate import mean_loss_interval
from copydesk.models import EncodedCache, EncodedSet, encode_examples
from copydesk.records import Choice
from copydesk.registry import add_version
from copydesk.store import Artifact, Catalogue, building, open_artifact
from copydesk.train import Recipe, Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run left, whole and hashed, before it is a version."""

    client: str
    folder: Path
    recipe: Recipe
    facts: Mapping[str, Any]

    @property
    def heldout_loss(self) -> float:
        """With the new weights."""
        return float(self.facts["heldout_loss"])

    @property
    def heldout_loss_before(self) -> float:
        """The base's."""
        return float(self.facts["curve"][0]["heldout_loss"])

    @property
    def gains(self) -> bool:
        """Whether the held-out loss fell."""
        return self.heldout_loss < self.heldout_loss_before

    def list_in(self, catalogue: Catalogue) -> TrainedVersion:
        """Make it the client's next version."""
        facts = self.facts

        def fill(artifact: Artifact) -> None:
            shutil.copytree(
                self.folder,
                artifact.path,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("manifest.json"),
            )
            artifact.facts.update(facts)

        version = add_version(catalogue, self.client, self.recipe.inputs, fill)
        seconds = float(facts["train_seconds"])
        return TrainedVersion(
            client=self.client,
            version=version.name,
            method=self.recipe.method,
            path=version.path,
            heldout_loss=self.heldout_loss,
            heldout_loss_before=self.heldout_loss_before,
            train_seconds=seconds,
            tokens_per_second=facts["tokens"] / seconds if seconds else 0.0,
            peak_memory_bytes=facts["peak_memory_bytes"],
            resumed_at=facts["resumed_at"],
            steps=facts["steps"],
            kept_step=facts["kept_step"],
            cut_examples=facts["cut_examples"],
            split_examples=facts["split_examples"],
            dropped_examples=facts["dropped_examples"],
        )


def encode_client(
    place: Place, client: str, tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> tuple[EncodedSet, EncodedSet]:
    """What to train on and what is held out, in the base's chat template.

    Raises:
        NotEnoughText: the limit on lengths leaves nothing of one of the two.
        Damaged: the dataset is not what was signed.
    """
    open_artifact(newest_dataset(place, client).path, keys=place.catalogue.keys)
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
            todo="Raise max_length, or use overlong=cut."
            if run.overlong == "drop" and not train.examples
            else "Raise max_length: a brief and its frame alone are longer.",
        )
    return train, heldout


def write_outcome(
    folder: Path, client: str, tuning: Tuning, examples: EncodedSet, choice: Choice | None
) -> Outcome:
    """Keep what a run leaves, with its figures, in `folder`, which must not exist.

    Args:
        folder: where to.
        client: whose run it was.
        tuning: the finished run.
        examples: what it trained on.
        choice: how its method was chosen; None where the caller named it.
    """
    recipe, result = tuning.recipe, tuning.result
    interval = mean_loss_interval(result.heldout)
    with building(folder, kind="outcome", inputs=recipe.inputs) as artifact:
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
            clients_in_pass=tuning.clients_in_pass,
            curve=[asdict(point) for point in result.curve],
            cut_examples=examples.cut,
            split_examples=examples.split,
            dropped_examples=examples.dropped,
        )
        if choice is not None:
            artifact.facts["choice"] = asdict(choice)
    return Outcome(client=client, folder=folder, recipe=recipe, facts=dict(artifact.facts))


def read_outcome(folder: Path, client: str, recipe: Recipe) -> Outcome:
    """What `write_outcome` kept.

    Raises:
        Damaged: it is not what was written.
    """
    manifest = open_artifact(folder).manifest
    assert manifest is not None
    return Outcome(client=client, folder=folder, recipe=recipe, facts=manifest.facts)
