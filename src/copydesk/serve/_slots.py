"""Keys and values of all slots, in one block a layer that is as long as the longest text.

oneDNN's batched products read whole blocks; of a longer one they would first copy the part that is
used, which took longer than the attention itself (benchmarks/step_parts.py). So a block has the
length that is needed, in coarse steps, and is laid out anew when texts outgrow it: once in 64
tokens. What it may grow to is the bound on memory.
"""

import torch

from copydesk.serve._runner import KeyValues


class Slots:
    """Of each layer [2, S, H_kv, T, K]: keys and values.

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
        self._shape = (2, slots, heads, width)
        self._dtype = dtype
        self._device = device
        self.length = length
        self.layers: list[torch.Tensor] = [self._block(_rounded(1, length)) for _ in range(layers)]
        self.keys: list[torch.Tensor] = []
        """Of each layer [S x H_kv, T, K]."""
        self.values: list[torch.Tensor] = []
        self._look()

    @property
    def bytes(self) -> int:
        """The most that is used."""
        both, slots, heads, width = self._shape
        numbers = len(self.layers) * both * slots * heads * width * (self.length + 1)
        return numbers * self._dtype.itemsize

    @property
    def seen(self) -> int:
        """T: positions of a block, with the one that is nobody's."""
        return self.keys[0].shape[1]

    def fit(self, needed: int) -> None:
        """Make room for texts of `needed` positions; let go of what is far too long for them."""
        wanted = _rounded(needed, self.length)
        if self.seen // 2 <= wanted <= self.seen:
            return
        kept = min(needed, self.seen)
        for number, layer in enumerate(self.layers):  # one at a time: no second copy of them all
            block = self._block(wanted)
            block[:, :, :, :kept] = layer[:, :, :, :kept]
            self.layers[number] = block
        self._look()

    def clear(self, slot: int) -> None:
        """Make a slot's numbers finite: what is masked is multiplied by zero, and NaN stays NaN."""
        for layer in self.layers:
            layer[:, slot].zero_()

    def copy_out(self, slot: int, start: int, end: int) -> KeyValues:
        """A copy of some positions."""
        found = [layer[:, slot, :, start:end] for layer in self.layers]
        return KeyValues(states=torch.stack(found))

    def copy_in(self, slot: int, start: int, kept: KeyValues) -> None:
        """Write positions from `start` on; there is room for them."""
        end = start + kept.states.shape[3]
        for layer, states in zip(self.layers, kept.states, strict=True):
            layer[:, slot, :, start:end] = states

    def _block(self, length: int) -> torch.Tensor:
        both, slots, heads, width = self._shape
        return torch.zeros(
            both, slots, heads, length, width, dtype=self._dtype, device=self._device
        )

    def _look(self) -> None:
        self.keys = [layer[0].flatten(0, 1) for layer in self.layers]
        self.values = [layer[1].flatten(0, 1) for layer in self.layers]


def _rounded(needed: int, length: int) -> int:
    """Positions of a block for texts of `needed`, and nobody's."""
    step = 64 if needed < 512 else 256
    return min(length + 1, -(-(needed + 1) // step) * step)
