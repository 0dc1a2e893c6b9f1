"""`train`: a version for each client, one after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer

from copydesk.corpus import BRIEF_TEMPLATE_VERSION, brief_text, document_example
from copydesk.desk._models import workspace_base
from copydesk.desk._results import FailedClient, TrainedVersion, Training
from copydesk.errors import CopydeskError
from copydesk.evaluate import mean_loss_interval
from copydesk.models import (
    BaseInfo,
    Encoded,
    encode_example,
    find_method,
    pick_device,
    template_digest,
)
from copydesk.records import Document, Listener, Message
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

if TYPE_CHECKING:
    from copydesk.desk._workspace import Workspace

DEFAULT_METHOD = "lora"
"""What `auto` means: comparisons on small sets find it level with full fine-tuning, cheaper."""


def train_clients(
    workspace: "Workspace",
    clients: Sequence[str],
    *,
    method: str,
    settings: Mapping[str, Any],
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Training:
    """Train each client; see `Workspace.train`."""
    base = workspace_base(workspace)
    named, settings = recipe_method(method, settings)
    chosen = DEFAULT_METHOD if named == "auto" else named
    recipes = {name: make_recipe(workspace, name, chosen, settings, base) for name in clients}
    made: list[TrainedVersion] = []
    failed: list[FailedClient] = []
    for client, recipe in recipes.items():
        try:
            with held(workspace.root / "locks", client, doing="trains it"):
                made.append(_train_one(workspace, client, recipe, listener, should_stop))
        except CopydeskError as error:
            failed.append(FailedClient(client=client, error=error))
    return Training(versions=tuple(made), failed=tuple(failed))


def make_recipe(
    workspace: "Workspace",
    client: str,
    method: str,
    settings: Mapping[str, Any],
    base: BaseInfo,
) -> Recipe:
    """The recipe of a client's run: workspace settings under the caller's.

    Raises:
        UnknownName: no such client or method, or it has no pages.
        InvalidInput: a setting cannot be used.
    """
    chosen = find_method(method)
    for section in workspace.config.settings:
        find_method(section)
    workspace.documents(client)
    entry = workspace.catalogue.latest("datasets", client)
    assert entry is not None
    run, own = make_settings(
        method,
        {"seed": workspace.config.seed, **workspace.config.settings.get(method, {}), **settings},
    )
    tokenizer = AutoTokenizer.from_pretrained(
        base.path, local_files_only=True, trust_remote_code=False
    )
    check_trackers(workspace.config.metrics)
    recipe = Recipe(
        base=base,
        dataset_digest=entry.digest,
        template_digest=f"{template_digest(tokenizer)}/brief-{BRIEF_TEMPLATE_VERSION}",
        method=method,
        run=run,
        own=own,
        dtype=chosen.dtype(run.dtype, pick_device()),
    )
    return check_recipe(recipe, pick_device())


def encode_documents(
    documents: Sequence[Document], base: BaseInfo, max_length: int
) -> tuple[Encoded, ...]:
    """Documents as training examples: brief to text, in the base's chat template."""
    tokenizer = AutoTokenizer.from_pretrained(
        base.path, local_files_only=True, trust_remote_code=False
    )
    examples = [document_example(document) for document in documents]
    return tuple(
        encode_example(
            tokenizer,
            example.id,
            [Message(role="user", content=brief_text(example.brief))],
            example.text,
            max_length=max_length,
        )
        for example in examples
    )


def _train_one(
    workspace: "Workspace",
    client: str,
    recipe: Recipe,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> TrainedVersion:
    train_pages, heldout_pages = workspace.documents(client)
    examples = encode_documents(train_pages, recipe.base, recipe.run.max_length)
    heldout = encode_documents(heldout_pages, recipe.base, recipe.run.max_length)
    folder = workspace.root / "runs" / client / recipe.digest[:16]
    tuning = tune(
        recipe,
        examples,
        heldout,
        device=pick_device(),
        folder=folder,
        task=f"train {client} ({find_method(recipe.method).label})",
        checkpoint_seconds=workspace.config.checkpoint_seconds,
        trackers=workspace.config.metrics,
        listener=listener,
        should_stop=should_stop,
    )
    version = _store(workspace, client, tuning)
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
        cut_examples=sum(example.cut for example in examples),
    )


def _store(workspace: "Workspace", client: str, tuning: Tuning) -> Version:
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

    return add_version(workspace.catalogue, client, recipe.inputs, fill)
