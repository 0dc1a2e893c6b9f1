"""Settings of a run: those every method has, and the chosen method's own."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as validated

from copydesk.errors import InvalidInput
from copydesk.models import MethodSettings, find_method

OptimizerName = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adamw_bf16"]
SchedulerName = Literal["cosine", "linear", "constant"]


@validated(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RunSettings:
    """What every run has. Lengths are in tokens."""

    learning_rate: float = Field(gt=0, le=1)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    dtype: str = "auto"
    """Of the base's weights: auto, float32 or bfloat16."""
    epochs: float = Field(default=3.0, gt=0, le=1000)
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many optimiser steps, whatever `epochs` says."""
    batch_tokens: int = Field(default=1024, ge=16, le=2**20)
    """Tokens of one optimiser step, prompt and answer; at least one example."""
    max_length: int = Field(default=1024, ge=16, le=2**17)
    """Longest example."""
    overlong: Literal["cut", "split", "drop"] = "cut"
    """What becomes of longer ones: they lose their end, become several with the same prompt, or are
    left out. Held-out examples are always cut, so that settings compare."""
    optimizer: OptimizerName = "adamw"
    lr_scheduler: SchedulerName = "cosine"
    """How the rate falls after the warm-up: to a tenth, or not at all."""
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the rate rises."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Of matrices. None by default: runs are short, and decay pulls an adapter towards nothing."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    eval_steps: int | None = Field(default=None, ge=1)
    """Score the held-out pages every so many steps; unset: half-way and at the end."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Stop after so many scorings without a lower held-out loss, and keep the best weights. The
    held-out loss was then chosen among several, and reads a little too well."""


def make_settings(method: str, overrides: Mapping[str, Any]) -> tuple[RunSettings, MethodSettings]:
    """Validate settings for a method; what is not given takes its default.

    Args:
        method: a method's name.
        overrides: setting -> value, or the value's text as it comes from `--set key=value`.

    Raises:
        UnknownName: no such method.
        InvalidInput: names every setting that is unknown or out of range.
    """
    chosen = find_method(method)
    run_names = {item.name for item in fields(RunSettings)}
    own_names = {item.name for item in fields(chosen.settings)}
    unknown = [key for key in overrides if key not in run_names | own_names]
    problems = [f"{key} is not a setting of {method}" for key in unknown]
    run: dict[str, Any] = {"learning_rate": chosen.learning_rate}
    run |= {key: value for key, value in overrides.items() if key in run_names}
    own = {key: value for key, value in overrides.items() if key in own_names}
    made: list[Any] = []
    for kind, values in ((RunSettings, run), (chosen.settings, own)):
        try:
            made.append(kind(**values))
        except ValidationError as error:
            problems += [f"{issue['loc'][0]}: {issue['msg']}" for issue in error.errors()]
    if problems:
        raise InvalidInput(
            "Settings cannot be used: " + "; ".join(problems),
            todo=f"Settings of {method}: {', '.join(sorted(run_names | own_names))}.",
        )
    return made[0], made[1]


def settings_record(run: RunSettings, own: MethodSettings) -> dict[str, Any]:
    """All settings as JSON values, for manifests."""
    return {**asdict(run), **asdict(own)}
