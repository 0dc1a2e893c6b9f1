"""AdamW with its two moments in eight bits each, by bitsandbytes.

Moments are quantised block by block, each block of 256 with a scale of its own and a code that is
dense near zero (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"). Paged
moments lie in memory that CUDA moves to the host when the device is full (QLoRA, 2023). On a CPU
bitsandbytes steps a whole tensor in float32, five times over; here it is given a slice at a time,
or the embedding alone would take back what eight bits save.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from bitsandbytes.functional import optimizer_update_8bit_blockwise
from bitsandbytes.optim.adamw import AdamW

BLOCK = 256
SMALLEST = 4096
"""Tensors of fewer numbers keep float32 moments, as bitsandbytes does it by default."""
SLICE = 1 << 20
"""Numbers stepped at once on a CPU; whole blocks."""
_CODE_BYTES = 2 * 256 * 4
"""The two codes, which all tensors share."""


def eight_bit_adamw(
    groups: Iterable[Mapping[str, Any]], *, learning_rate: float, paged: bool
) -> torch.optim.Optimizer:
    """AdamW over parameter groups, as `torch.optim.AdamW` takes them."""
    made: Any = AdamW(
        [dict(group) for group in groups],
        lr=learning_rate,
        optim_bits=8,
        min_8bit_size=SMALLEST,
        is_paged=paged,
    )
    made.update_step = _sliced(made)
    return made


def _sliced(optimizer: Any) -> Callable[[Any, torch.nn.Parameter, int, int], None]:
    """bitsandbytes' `update_step`, a slice at a time for a large tensor on a CPU."""
    whole = optimizer.update_step

    def update(group: Any, parameter: torch.nn.Parameter, number: int, place: int) -> None:
        state = optimizer.state[parameter]
        small = state["state1"].dtype != torch.uint8 or parameter.numel() <= SLICE
        if small or parameter.device.type != "cpu":
            whole(group, parameter, number, place)
            return
        assert parameter.grad is not None
        config = optimizer.get_config(number, place, group)
        state["step"] += 1
        flat = [
            tensor.view(-1)
            for tensor in (parameter.grad.contiguous(), parameter.detach(), state["state1"])
        ]
        flat.append(state["state2"].view(-1))
        for start in range(0, parameter.numel(), SLICE):
            part = slice(start, start + SLICE)
            blocks = slice(start // BLOCK, (start + SLICE) // BLOCK)
            optimizer_update_8bit_blockwise(
                optimizer.optimizer_name,
                *(tensor[part] for tensor in flat),
                beta1=config["betas"][0],
                beta2=config["betas"][1],
                beta3=0.0,
                alpha=0.0,
                eps=config["eps"],
                step=state["step"],
                lr=config["lr"],
                qmap1=state["qmap1"],
                qmap2=state["qmap2"],
                absmax1=state["absmax1"][blocks],
                absmax2=state["absmax2"][blocks],
                weight_decay=config["weight_decay"],
                gnorm_scale=1.0,
                skip_zeros=config["skip_zeros"],
            )

    return update


def allocate_state(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> bool:
    """Give a parameter the empty state its first step would, paged where that is paged.

    Returns:
        Whether the optimiser is one of this module's; others are left as they are.
    """
    allocate: Any = getattr(optimizer, "init_state", None)
    if allocate is None:
        return False
    for number, group in enumerate(optimizer.param_groups):
        for place, candidate in enumerate(group["params"]):
            if candidate is parameter:
                allocate(group, parameter, number, place)
    return True


def eight_bit_bytes(parameters: Iterable[torch.nn.Parameter]) -> int:
    """Bytes that the moments of these parameters take."""
    total = _CODE_BYTES
    for parameter in parameters:
        count = parameter.numel()
        total += 8 * count if count < SMALLEST else 2 * count + 8 * -(-count // BLOCK)
    return total
