"""Checkpoints: everything a run needs to go on as if it had not stopped.

A checkpoint is an artifact (hashed, there whole or not at all). The newest that is undamaged is
used; one older is kept beside it.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from copydesk.errors import Damaged
from copydesk.records import LossPoint
from copydesk.store import building, open_artifact, storage_errors

KEPT = 2
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a run has come."""

    step: int
    """Optimiser steps done."""
    seconds: float
    """Training time until then."""
    tokens: int
    curve: tuple[LossPoint, ...]


def write_checkpoint(
    folder: Path,
    run_digest: str,
    position: Position,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint and drop all but the newest `KEPT`."""
    target = folder / f"checkpoint-{position.step:08d}"
    if target.exists():
        return
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"parameter/{name}"] = parameter.detach().contiguous()
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = torch.as_tensor(value).contiguous()
    with building(target, kind="checkpoint", inputs={"run": run_digest}) as artifact:
        with storage_errors(target):
            save_file(tensors, artifact.path / "state.safetensors")
        artifact.facts.update(
            step=position.step,
            seconds=position.seconds,
            tokens=position.tokens,
            curve=[asdict(point) for point in position.curve],
        )
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


@torch.no_grad()
def read_checkpoint(
    folder: Path,
    run_digest: str,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> Position | None:
    """Put the newest undamaged checkpoint of this run back; None where there is none."""
    for path in reversed(_checkpoints(folder)):
        try:
            artifact = open_artifact(path)
        except Damaged:
            continue
        assert artifact.manifest is not None
        if artifact.manifest.inputs["run"] != run_digest:
            continue
        tensors = load_file(path / "state.safetensors")
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"parameter/{name}"])
            moments = {key: tensors.get(f"{key}/{name}") for key in _MOMENTS}
            if moments["step"] is not None:
                optimizer.state[parameter] = {
                    key: value.to(parameter.device) if key != "step" else value
                    for key, value in moments.items()
                    if value is not None
                }
        facts = artifact.manifest.facts
        return Position(
            step=facts["step"],
            seconds=facts["seconds"],
            tokens=facts["tokens"],
            curve=tuple(LossPoint(**point) for point in facts["curve"]),
        )
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"))
