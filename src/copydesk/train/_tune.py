"""One run from start to end: load the base, put the method on it, train, and measure the memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from copydesk.models import (
    ATTENTION,
    BaseInfo,
    Encoded,
    MethodSettings,
    Tuned,
    find_method,
    free_memory,
    load_base,
)
from copydesk.records import Listener, ignore_progress
from copydesk.store import code_revision, json_digest
from copydesk.train._capacity import memory_errors
from copydesk.train._loop import train
from copydesk.train._memory import PeakMemory
from copydesk.train._metrics import TrackerName
from copydesk.train._optimizers import check_optimizer
from copydesk.train._session import TrainResult
from copydesk.train._settings import RunSettings, settings_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a run is made of. Two runs of equal digest give equal weights."""

    base: BaseInfo
    dataset_digest: str
    template_digest: str
    method: str
    run: RunSettings
    own: MethodSettings
    dtype: torch.dtype

    @property
    def digest(self) -> str:
        """Identity of the run."""
        return json_digest(
            {
                "base": self.base.digest,
                "dataset": self.dataset_digest,
                "template": self.template_digest,
                "method": self.method,
                "settings": self.settings,
                "dtype": str(self.dtype),
            }
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings as JSON values."""
        return settings_record(self.run, self.own)

    @property
    def inputs(self) -> Mapping[str, str]:
        """Digests for the manifest of what the run leaves, and the code that made it."""
        return {
            "base": self.base.digest,
            "dataset": self.dataset_digest,
            "template": self.template_digest,
            "run": self.digest,
            "code": code_revision(),
        }


@dataclass(slots=True, kw_only=True)
class Tuning:
    """A finished run, its model still in memory."""

    recipe: Recipe
    tuned: Tuned
    result: TrainResult
    peak_memory_bytes: int
    clients_in_pass: int = 1
    """The most that were trained beside one another until this one ended: the peak is theirs."""

    def save(self, folder: Path) -> None:
        """Write what the method leaves: a PEFT folder, or a base in Hugging Face layout."""
        find_method(self.recipe.method).save(self.tuned, folder)


def check_recipe(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe, when its settings go together on this device; costs nothing.

    Raises:
        InvalidInput: its optimiser does not go with its weights or the device.
    """
    whole = find_method(recipe.method).leaves == "base"
    trained = recipe.dtype if whole else torch.float32
    check_optimizer(recipe.run.optimizer, trained, device)
    return recipe


def tune(
    recipe: Recipe,
    examples: Sequence[Encoded],
    heldout: Sequence[Encoded],
    *,
    device: torch.device,
    folder: Path,
    task: str,
    loss_before: float | None = None,
    checkpoint_seconds: float = 60.0,
    trackers: Sequence[TrackerName] = (),
    listener: Listener = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Tuning:
    """Run a recipe, going on from its last checkpoint in `folder` where there is one.

    The peak covers loading, training and scoring, runtime included. Raises as `train` does.
    """
    check_recipe(recipe, device)
    free_memory()
    memory = PeakMemory(device)
    method = find_method(recipe.method)
    with memory.watching():
        with memory_errors("Loading", device, "Use a smaller base, or dtype=bfloat16."):
            base = load_base(
                recipe.base,
                device=device,
                dtype=recipe.dtype,
                attention=ATTENTION,
                quantisation=method.quantisation(recipe.own),
            )
            tuned = method.prepare(base, recipe.own, recipe.run.seed)
        result = train(
            tuned,
            examples,
            heldout,
            run=recipe.run,
            run_digest=recipe.digest,
            folder=folder,
            task=task,
            loss_before=loss_before,
            checkpoint_seconds=checkpoint_seconds,
            trackers=trackers,
            listener=listener,
            should_stop=should_stop,
            out_of_time=out_of_time,
        )
    return Tuning(recipe=recipe, tuned=tuned, result=result, peak_memory_bytes=memory.bytes)
