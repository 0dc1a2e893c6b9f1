"""Checkpoints: everything a run needs to go on as if it had not stopped.

A checkpoint is an artifact (hashed, there whole or not at all). The newest that is undamaged is
used; one older is kept beside it. It holds the trained weights and whatever the optimiser keeps of
each: tensors in `state.safetensors`, plain numbers in the manifest. A run that may stop early has
the best weights so far beside its checkpoints, as an artifact of their own.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from copydesk.errors import Damaged
from copydesk.models import allocate_state
from copydesk.records import LossPoint
from copydesk.store import Artifact, building, open_artifact
from copydesk.train._watch import best_of

KEPT = 2
_STATE = "state.safetensors"
_WEIGHT = "parameter"

Parameters = Mapping[str, torch.nn.Parameter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a run has come."""

    step: int
    """Optimiser steps done."""
    seconds: float
    """Training time until then."""
    tokens: int
    curve: tuple[LossPoint, ...]
    micro_tokens: int
    """Tokens run at once: another number sums in another order."""


def write_checkpoint(
    folder: Path,
    run_digest: str,
    position: Position,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint and drop all but the newest `KEPT`, and best weights none of them needs.

    Raises:
        NoRoom: the disk is full; the earlier checkpoints stand.
    """
    target = folder / f"checkpoint-{position.step:08d}"
    if target.exists():
        if _opened(target, run_digest):
            return
        shutil.rmtree(target)
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, dict[str, float]] = {}
    for name, parameter in parameters.items():
        tensors[f"{_WEIGHT}/{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{key}/{name}"] = value.detach().contiguous()
            else:
                numbers.setdefault(name, {})[key] = value
    with building(target, kind="checkpoint", inputs={"run": run_digest}) as artifact:
        save_file(_unshared(tensors), artifact.path / _STATE)
        artifact.facts.update(
            step=position.step,
            seconds=position.seconds,
            tokens=position.tokens,
            micro_tokens=position.micro_tokens,
            curve=[asdict(point) for point in position.curve],
            numbers=numbers,
        )
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    _drop_unneeded_best(folder, position)


@torch.no_grad()
def read_checkpoint(
    folder: Path,
    run_digest: str,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    *,
    needs_best: bool = False,
) -> Position | None:
    """Put the newest undamaged checkpoint of this run back; None where there is none.

    Args:
        folder: the run's own.
        run_digest: checkpoints of other runs are passed over.
        parameters: the weights to fill.
        optimizer: over these weights; its state is filled.
        needs_best: pass over checkpoints whose best weights are damaged, too.
    """
    for path in reversed(_checkpoints(folder)):
        facts = _opened(path, run_digest)
        if facts is None:
            continue
        position = Position(
            step=facts["step"],
            seconds=facts["seconds"],
            tokens=facts["tokens"],
            micro_tokens=facts["micro_tokens"],
            curve=tuple(LossPoint(**point) for point in facts["curve"]),
        )
        best = best_of(position.curve) if needs_best else None
        if best and _opened(_best_path(folder, best.step), run_digest) is None:
            continue
        tensors = load_file(path / _STATE)
        for name, parameter in parameters.items():
            parameter.copy_(tensors.pop(f"{_WEIGHT}/{name}"))
        states: dict[str, dict[str, Any]] = {key: dict(n) for key, n in facts["numbers"].items()}
        for place, tensor in tensors.items():
            key, _, name = place.partition("/")
            states.setdefault(name, {})[key] = tensor
        for name, state in states.items():
            _fill_state(optimizer, parameters[name], state)
        return position
    return None


def write_best(folder: Path, run_digest: str, step: int, parameters: Parameters) -> None:
    """Write the weights of a step as the best so far."""
    target = _best_path(folder, step)
    if target.exists():
        shutil.rmtree(target)  # of the same step before a resume: equal, or damaged
    tensors = {name: parameter.detach().contiguous() for name, parameter in parameters.items()}
    with building(target, kind="weights", inputs={"run": run_digest}) as artifact:
        save_file(_unshared(tensors), artifact.path / _STATE)


@torch.no_grad()
def read_best(folder: Path, step: int, parameters: Parameters) -> None:
    """Put the weights that `write_best` wrote back.

    Raises:
        Damaged: they are not what was written.
    """
    path = _best_path(folder, step)
    open_artifact(path)
    tensors = load_file(path / _STATE)
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])


def clear_run(folder: Path) -> None:
    """Remove a finished run's checkpoints; its figures stay."""
    for path in (*_checkpoints(folder), *folder.glob("best-*")):
        shutil.rmtree(path, ignore_errors=True)


def _fill_state(
    optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, values: Mapping[str, Any]
) -> None:
    """Put back what the optimiser keeps of a parameter, in its own number formats.

    Not by `load_state_dict`, which casts to the parameter's format.
    """
    state: dict[str, Any] = optimizer.state[parameter]
    if not state and allocate_state(optimizer, parameter):
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                state[key].copy_(value)
            else:
                state[key] = value
        return
    for key, value in values.items():
        counts = key == "step" and not optimizer.defaults.get("fused")
        moves = isinstance(value, torch.Tensor) and not counts  # torch counts on the CPU
        state[key] = value.to(parameter.device) if moves else value


def _unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with tensors that share memory copied apart, as safetensors wants it."""
    seen: set[int] = set()
    apart: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return apart


def _opened(path: Path, run_digest: str) -> Mapping[str, Any] | None:
    """The facts of an undamaged artifact of this run."""
    try:
        artifact: Artifact = open_artifact(path)
    except Damaged:
        return None
    assert artifact.manifest is not None
    return artifact.manifest.facts if artifact.manifest.inputs.get("run") == run_digest else None


def _drop_unneeded_best(folder: Path, position: Position) -> None:
    """Drop best weights that neither the run nor one of its checkpoints would go back to."""
    kept = list(folder.glob("best-*"))
    if not kept:
        return
    needed = {best_of(position.curve)}
    for path in _checkpoints(folder):
        manifest = open_artifact(path, verify=False).manifest
        assert manifest is not None
        needed.add(best_of([LossPoint(**point) for point in manifest.facts["curve"]]))
    names = {_best_path(folder, best.step) for best in needed if best}
    for path in kept:
        if path not in names:
            shutil.rmtree(path, ignore_errors=True)


def _best_path(folder: Path, step: int) -> Path:
    return folder / f"best-{step:08d}"


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"))
