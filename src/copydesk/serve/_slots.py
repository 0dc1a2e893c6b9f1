"""Keys and values of all slots: allocated once, which is the bound on memory.

Keys lie with positions last, so that scores are a product of contiguous rows: on a 2-core CPU the
attention of a step took half the time that it took with positions first, or in torch's fused one
(benchmarks/step_parts.py).
"""

import torch

from copydesk.serve._runner import KeyValues


class Slots:
    """[L, S, H_kv, K, T + 1] keys and [L, S, H_kv, T + 1, K] values.

    The last position is nobody's: rows that have nothing to say write there.
    """

    def __init__(
        self,
        *,
        layers: int,
        slots: int,
        heads: int,
        width: int,
        length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        # Zeros are not touched before they are used, so the system gives memory as texts grow.
        self.keys = torch.zeros(layers, slots, heads, width, length + 1, dtype=dtype, device=device)
        self.values = torch.zeros(
            layers, slots, heads, length + 1, width, dtype=dtype, device=device
        )
        self.length = length

    @property
    def bytes(self) -> int:
        """The most that is used."""
        return self.keys.nbytes + self.values.nbytes

    def clear(self, slot: int) -> None:
        """Make a slot's numbers finite: what is masked is multiplied by zero, and NaN stays NaN."""
        self.keys[:, slot].zero_()
        self.values[:, slot].zero_()

    def copy_out(self, slot: int, start: int, end: int) -> KeyValues:
        """A copy of some positions."""
        return KeyValues(
            keys=self.keys[:, slot, :, :, start:end].clone(memory_format=torch.contiguous_format),
            values=self.values[:, slot, :, start:end].clone(memory_format=torch.contiguous_format),
        )

    def copy_in(self, slot: int, start: int, kept: KeyValues) -> None:
        """Write positions from `start` on."""
        end = start + kept.keys.shape[-1]
        self.keys[:, slot, :, :, start:end] = kept.keys
        self.values[:, slot, :, start:end] = kept.values
