"""Optimisers of a run: which there are, when each makes sense, and what their state takes.

| optimizer | trained weights | state, bytes a number |
|---|---|---:|
| `adamw` | float32 | 8 |
| `adamw` | bfloat16, with a float32 master copy | 12 |
| `adamw_8bit` | float32 | about 2 |
| `paged_adamw_8bit` | float32, on CUDA | about 2, moved to the host when the device is full |
| `adamw_bf16` | bfloat16, rounded by chance | 4 |
"""

from collections.abc import Mapping
from typing import Any

import torch

from copydesk.errors import InvalidInput
from copydesk.models import Tuned, eight_bit_adamw, eight_bit_bytes
from copydesk.train._bf16 import Bf16AdamW
from copydesk.train._settings import OptimizerName

_EIGHT_BIT = {"adamw_8bit", "paged_adamw_8bit"}


def check_optimizer(name: OptimizerName, trained: torch.dtype, device: torch.device) -> None:
    """Refuse an optimiser that cannot work here.

    Args:
        name: the setting.
        trained: number format of the weights that are trained.
        device: where they are.

    Raises:
        InvalidInput: says what does not go together.
    """
    wrong, todo = None, None
    if name == "adamw_bf16" and trained != torch.bfloat16:
        wrong = f"adamw_bf16 is for bfloat16 weights; this run trains {_word(trained)} ones"
        todo = "Use method full with dtype=bfloat16, or optimizer=adamw."
    elif name in _EIGHT_BIT and trained != torch.float32:
        wrong = f"{name} would lose small steps of {_word(trained)} weights"
        todo = "Use dtype=float32, or optimizer=adamw_bf16."
    elif name == "paged_adamw_8bit" and device.type != "cuda":
        wrong = (
            f"paged_adamw_8bit moves memory between a CUDA device and its host; this is {device}"
        )
        todo = "Use optimizer=adamw_8bit."
    if wrong:
        raise InvalidInput(wrong, where=f"optimizer={name}", todo=todo)


def make_optimizer(
    tuned: Tuned, name: OptimizerName, *, learning_rate: float, weight_decay: float, seed: int
) -> torch.optim.Optimizer:
    """An optimiser over a method's parameters, in groups by rate factor and decay.

    Matrices decay; vectors (norms, biases, scales) do not, which is the field's custom. Each group
    holds its `rate_factor`; `set_rate` applies it.

    Raises:
        InvalidInput: the optimiser cannot work with these weights on this device.
    """
    formats = {parameter.dtype for parameter in tuned.parameters.values()}
    for trained in formats:
        check_optimizer(name, trained, tuned.base.device)
    groups = _groups(tuned, weight_decay)
    if name in _EIGHT_BIT:
        paged = name == "paged_adamw_8bit"
        return eight_bit_adamw(groups, learning_rate=learning_rate, paged=paged)
    if torch.bfloat16 in formats:
        master = name == "adamw"
        return Bf16AdamW(groups, learning_rate=learning_rate, master=master, seed=seed)
    return torch.optim.AdamW(
        groups,
        lr=learning_rate,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        fused=tuned.base.device.type in {"cpu", "cuda"},
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


def optimizer_bytes(name: OptimizerName, parameters: Mapping[str, torch.nn.Parameter]) -> int:
    """Bytes that the optimiser's state will take, step counters left out."""
    if name in _EIGHT_BIT:
        return eight_bit_bytes(parameters.values())
    total = 0
    for parameter in parameters.values():
        half = parameter.dtype == torch.bfloat16
        each = (12 if name == "adamw" else 4) if half else 8
        total += each * parameter.numel()
    return total


def _groups(tuned: Tuned, weight_decay: float) -> list[dict[str, Any]]:
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in tuned.parameters.items():
        factor = tuned.rate_factors.get(name, 1.0)
        decay = weight_decay if parameter.dim() > 1 else 0.0
        group = groups.setdefault(
            (factor, decay), {"params": [], "rate_factor": factor, "weight_decay": decay}
        )
        group["params"].append(parameter)
    return list(groups.values())


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
