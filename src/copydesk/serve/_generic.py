"""Any architecture that transformers knows, one text after the other, each with its own cache.

It is the slow path: what the hand-written forward does for all rows at once, this does row by row.
Adapters are added by hooks on the modules they name, so that the model itself is not changed.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache

from copydesk.errors import InvalidInput
from copydesk.models import AdapterWeights, Base, LowRank
from copydesk.serve._formulas import NON_LINEARITIES, length_factors, square_rows
from copydesk.serve._runner import KeyValues, Prepared, Stretch


@dataclass(slots=True)
class _Text:
    adapter: AdapterWeights | None
    cache: Any


class GenericRunner:
    """A base's own forward, for one slot at a time."""

    takes_parts = False

    def __init__(self, base: Base, *, slots: int, length: int) -> None:
        self.slots = slots
        self.length = length
        self._base = base
        self._model: Any = base.model
        self._config: Any = base.model.config.get_text_config()
        self._texts: dict[int, _Text] = {}
        self._active: AdapterWeights | None = None
        self._hooked: set[str] = set()
        self._squares: dict[str, torch.Tensor] = {}
        known = inspect.signature(base.model.forward).parameters
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        names = {id(module): name for name, module in base.model.named_modules()}
        head: Any = base.model.get_output_embeddings()
        self._head = names.get(id(head), "")

    @property
    def bytes(self) -> int:
        """Keys and values of all slots, full."""
        config = self._config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        numbers = 2 * int(config.num_hidden_layers) * int(heads) * int(width)
        return numbers * self.slots * self.length * self._base.dtype.itemsize

    def prepare(self, weights: AdapterWeights) -> Prepared:
        """An adapter is used as it was read."""
        return Prepared(
            virtual_tokens=weights.virtual_tokens,
            prompted=weights.prompt is not None,
            bytes=weights.bytes,
            own=weights,
        )

    def merge(self, adapter: Prepared) -> None:
        """None: hooks are what this runner has."""
        del adapter

    @property
    def stacks_bytes(self) -> int:
        """Nothing: adapters are used as they are."""
        return 0

    @torch.inference_mode()
    def open(self, slot: int, adapter: Prepared | None) -> int:
        """Take an empty slot; a prefix is laid into it."""
        assert slot not in self._texts
        weights: AdapterWeights | None = None if adapter is None else adapter.own
        text = _Text(weights, DynamicCache(config=self._config))
        filled = 0
        if weights is not None:
            for name in (*weights.pairs, *weights.narrow):
                self._hook(name)
            if weights.prefix is not None:
                filled = self._lay(text.cache, weights.prefix)
        self._texts[slot] = text
        return filled

    @torch.inference_mode()
    def run(self, stretches: Sequence[Stretch]) -> torch.Tensor:
        """Logits [rows, V]."""
        rows: list[torch.Tensor] = []
        for stretch in stretches:
            text = self._texts[stretch.slot]
            self._active = text.adapter
            try:
                output = self._model(
                    **self._inputs(stretch, text.adapter),
                    attention_mask=torch.ones(
                        1,
                        stretch.start + len(stretch.ids),
                        dtype=torch.long,
                        device=self._base.device,
                    ),
                    past_key_values=text.cache,
                    use_cache=True,
                    **self._options,
                )
            finally:
                self._active = None
            text.cache = getattr(output, "past_key_values", text.cache)
            if stretch.wanted:
                rows.append(output.logits[0, -1].float())
        if not rows:
            return torch.empty(0, 0, device=self._base.device)
        return torch.stack(rows)

    def close(self, slot: int, *, clean: bool) -> None:
        """Drop the slot's cache; nothing of it is used again."""
        del clean
        self._texts.pop(slot, None)

    def copy_out(self, slot: int, start: int, end: int) -> KeyValues:
        """Not asked of this runner: caches of some architectures hold more than keys and values."""
        raise NotImplementedError

    def copy_in(self, slot: int, start: int, kept: KeyValues) -> None:
        """Not asked of this runner."""
        raise NotImplementedError

    def _inputs(self, stretch: Stretch, adapter: AdapterWeights | None) -> dict[str, torch.Tensor]:
        device = self._base.device
        if min(stretch.ids) >= 0:
            return {"input_ids": torch.tensor([list(stretch.ids)], device=device)}
        assert adapter is not None and adapter.prompt is not None
        ids = [token for token in stretch.ids if token >= 0]
        virtual = [-1 - token for token in stretch.ids if token < 0]
        words = self._model.get_input_embeddings()(torch.tensor([ids], device=device))
        return {"inputs_embeds": torch.cat([adapter.prompt[virtual][None], words], dim=1)}

    def _lay(self, cache: Any, prefix: torch.Tensor) -> int:
        try:
            for layer, (keys, values) in enumerate(prefix):
                cache.update(keys[None], values[None], layer)
        except (AttributeError, IndexError, TypeError) as error:
            raise InvalidInput(
                f"{self._base.info.name} keeps no keys and values for a prefix",
                todo="Train the client with lora.",
            ) from error
        return prefix.shape[3]

    def _hook(self, name: str) -> None:
        if name in self._hooked:
            return
        self._hooked.add(name)
        module = self._model.get_submodule(name)
        is_head = name == self._head

        def adapt(module: Any, inputs: Any, output: Any) -> Any:
            adapter = self._active
            if adapter is None:
                return output
            if (pair := adapter.pairs.get(name)) is not None:
                x = inputs[0]
                return self._beside(name, module, pair, x[:, -1:] if is_head else x, output)
            if name in adapter.narrow:
                return self._behind(adapter, name, output)
            return output

        module.register_forward_hook(adapt)

    def _beside(
        self, name: str, module: Any, pair: LowRank, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        low = functional.linear(functional.linear(x[:, -y.shape[1] :], pair.a), pair.b)
        if pair.magnitude is None:
            return y + low
        bias = getattr(module, "bias", None)
        zero = torch.zeros((), device=y.device, dtype=y.dtype) if bias is None else bias

        def project(rows: torch.Tensor) -> torch.Tensor:
            # Past the hooks: the product with the base's weights alone.
            return module.forward(rows) - zero

        if name not in self._squares:
            self._squares[name] = square_rows(project, x.shape[-1], y)
        factors = length_factors(pair, project(pair.a), self._squares[name]).to(y.dtype)
        return (y - zero + low) * factors + zero

    def _behind(self, adapter: AdapterWeights, name: str, output: Any) -> Any:
        narrow = adapter.narrow[name]
        z = output[0] if isinstance(output, tuple) else output
        low = NON_LINEARITIES[adapter.non_linearity](
            functional.linear(z, narrow.down, narrow.down_bias)
        )
        z = z + functional.linear(low, narrow.up, narrow.up_bias)
        return (z, *output[1:]) if isinstance(output, tuple) else z
