"""AdamW with its two moments in eight bits each, by bitsandbytes.

Moments are quantised block by block, each block of 256 with a scale of its own and a code that is
dense near zero (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"). Paged
moments lie in memory that CUDA moves to the host when the device is full (QLoRA, 2023). On a CPU
bitsandbytes runs the update tensor by tensor in float32, so that the largest tensor's moments are
whole for a moment.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from copydesk.errors import InvalidInput

BLOCK = 256
SMALLEST = 4096
"""Tensors of fewer numbers keep float32 moments, as bitsandbytes does it by default."""
_CODE_BYTES = 2 * 256 * 4
"""The two codes, which all tensors share."""


def eight_bit_adamw(
    groups: Iterable[Mapping[str, Any]], *, learning_rate: float, paged: bool
) -> torch.optim.Optimizer:
    """AdamW over parameter groups, as `torch.optim.AdamW` takes them.

    Raises:
        InvalidInput: bitsandbytes is not installed.
    """
    try:
        from bitsandbytes.optim.adamw import AdamW
    except ImportError as error:
        raise InvalidInput(
            "8-bit optimisers need bitsandbytes, which is not installed",
            where="optimizer",
            todo='Install it: pip install "copydesk[bitsandbytes]"',
        ) from error
    made: Any = AdamW(
        [dict(group) for group in groups],
        lr=learning_rate,
        optim_bits=8,
        min_8bit_size=SMALLEST,
        is_paged=paged,
    )
    assert isinstance(made, torch.optim.Optimizer)
    return made


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
