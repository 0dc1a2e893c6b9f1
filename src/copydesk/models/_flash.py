"""Variable-length flash attention on CUDA: one kernel for all examples of a packed batch.

PyTorch's own `varlen_attn` is a thin face of the same operator; it came with torch 2.10, and its
arguments have changed with each release since, so that the operator itself is called here.
"""

import functools
from collections.abc import Sequence
from itertools import accumulate

import torch

_WIDEST = 256
"""Head size that the kernels go up to (FlashAttention-2)."""
_AMPERE = 8
"""Major compute capability that they need."""


def flash_attention(
    query_HTK: torch.Tensor,
    key_GTK: torch.Tensor,
    value_GTK: torch.Tensor,
    lengths: Sequence[int],
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    """Attend every example of the packed rows to itself, causally.

    Args:
        query_HTK: on CUDA, in half precision; H is a multiple of G.
        key_GTK: as the queries.
        value_GTK: as the keys.
        lengths: of the examples, in order; they add up to T.
        scale: of the scores; None is one over the root of K.
        window: tokens that a query sees, itself among them; None for all before it.

    Returns:
        [T, H, K].
    """
    starts = _starts(tuple(lengths), query_HTK.device)
    longest = max(lengths)
    attended_THK, *_ = torch.ops.aten._flash_attention_forward(
        query_HTK.transpose(0, 1),
        key_GTK.transpose(0, 1),
        value_GTK.transpose(0, 1),
        starts,
        starts,
        longest,
        longest,
        0.0,
        True,
        False,
        scale=scale,
        window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
    )
    return attended_THK


def can_flash(query_HTK: torch.Tensor, value_GTK: torch.Tensor) -> bool:
    """Whether `flash_attention` takes such tensors on their device."""
    size = query_HTK.shape[-1]
    return (
        query_HTK.device.type == "cuda"
        and query_HTK.dtype in {torch.bfloat16, torch.float16}
        and value_GTK.shape[-1] == size
        and size % 8 == 0
        and size <= _WIDEST
        and torch.version.hip is None
        and torch.cuda.get_device_capability(query_HTK.device)[0] >= _AMPERE
    )


@functools.lru_cache(maxsize=16)
def _starts(lengths: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Where each example begins, and the end, on the device: made once for all layers."""
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
