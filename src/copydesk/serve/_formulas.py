"""What adapters compute, beyond products: DoRA's lengths and the bottleneck's activation."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch.nn import functional

from copydesk.models import LowRank

NON_LINEARITIES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
_CHUNK = 256


def weight_columns(
    project: Callable[[torch.Tensor], torch.Tensor], width: int, like: torch.Tensor
) -> Iterator[torch.Tensor]:
    """W' [n, O] by parts of at most 256 of its D rows, from x -> x W' alone, whatever W is held in.

    Args:
        project: the product, without bias.
        width: D, of x.
        like: any tensor of the number format and on the device of x.
    """
    for start in range(0, width, _CHUNK):
        end = min(width, start + _CHUNK)
        eye = torch.zeros(end - start, width, dtype=like.dtype, device=like.device)
        eye[range(end - start), range(start, end)] = 1
        yield project(eye)


def square_rows(
    project: Callable[[torch.Tensor], torch.Tensor], width: int, like: torch.Tensor
) -> torch.Tensor:
    """[O] sums of squares of each row of W; see `weight_columns`."""
    parts = [part.float().square().sum(0) for part in weight_columns(project, width, like)]
    return torch.stack(parts).sum(0)


def length_factors(pair: LowRank, projected: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """[O] m / |W + B A| of DoRA (Liu et al. 2024), row by row, without W.

    |w + b A|^2 = |w|^2 + 2 b (A w') + b (A A') b', where w and b are a row of W and of B.

    Args:
        pair: of DoRA.
        projected: A W' [R, O].
        squares: |w|^2 of every row [O].
    """
    assert pair.magnitude is not None
    a, b = pair.a.float(), pair.b.float()
    cross = (b * projected.float().T).sum(1)
    own = (b @ (a @ a.T)).mul_(b).sum(1)
    return pair.magnitude / (squares + 2 * cross + own).clamp_min_(1e-30).sqrt_()
