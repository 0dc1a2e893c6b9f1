"""The bank: adapters of many runs over one frozen base, each trained as if it were alone.

The members' pairs lie beside the same linear layers, under names of their own, with ranks, scales
and targets of their own. A packed batch runs through the base once; `backward_losses` sends each
member's rows through its own pairs, and each row's gradient to them alone.

Three ways to compute the members' products were weighed. A product with all A side by side and a
mask costs K times the multiplications and lets a NaN across as NaN x 0. Batched products (`bmm`)
want equal ranks and row counts, or padding. What is done, rows sorted by member and a small product
for each, needs neither, isolates members by construction, and gives each the very products that it
has alone; benchmarks/many_clients.py measures what it costs as members are added.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer

from copydesk.errors import CannotShare
from copydesk.models._load import Base
from copydesk.models._lora import Routing, drop_lean_forwards, use_lean_lora
from copydesk.models._low_rank import add_low_rank, add_to_layers, rate_factors
from copydesk.models._method_settings import LoraSettings
from copydesk.models._norms import use_lean_norms
from copydesk.models._quiet import peft_notices
from copydesk.models._tuned import Tuned


class Bank:
    """LoRA adapters that share a base. They come and go without touching one another."""

    def __init__(self, base: Base) -> None:
        """Take a frozen base, loaded for packed batches; it is changed in place.

        Raises:
            CannotShare: the base cannot keep packed examples apart.
        """
        if not base.packed:
            raise _cannot_share(base)
        self.base = base
        self._routing = Routing(base.compiled)
        self._members: dict[str, Tuned] = {}
        self._known: dict[Targets, _Known] = {}
        self._count = 0

    @property
    def members(self) -> dict[str, Tuned]:
        """Who is in the bank, by name."""
        return dict(self._members)

    def add(self, name: str, settings: LoraSettings, seed: int) -> Tuned:
        """Add a fresh adapter; it starts as it would alone.

        Args:
            name: of the member; not in use.
            settings: LoRA's.
            seed: of the first weights.

        Raises:
            InvalidInput: the targets are not the base's.
            CannotShare: the initialisation changes the base, or a target is not a plain linear.
        """
        assert name not in self._members
        if settings.init_lora_weights == "pissa":
            raise CannotShare(
                f"{name} starts from PiSSA, which changes the base that others share",
                where="init_lora_weights=pissa",
                todo="Train this client by itself.",
            )
        adapter = f"member{self._count}"  # PEFT's names may hold less than ours
        self._count += 1
        known = self._known.get(_targets(settings))
        if known is None:
            known = self._known[_targets(settings)] = self._find(adapter, settings, seed)
        else:
            add_to_layers(
                known.wrapper, known.layers.values(), known.config, adapter, settings, seed
            )
        wrapper = known.wrapper
        # As a run by itself names them, so that checkpoints are the same.
        parameters = {
            f"{place}.{side}.default.weight": getattr(layer, side)[adapter].weight
            for place, layer in known.layers.items()
            for side in ("lora_A", "lora_B")
        }
        tuned = Tuned(
            method="lora",
            base=self.base,
            model=wrapper.get_base_model(),  # pyright: ignore[reportArgumentType]
            parameters=parameters,
            peft=wrapper,
            rate_factors=rate_factors(parameters, settings.loraplus_lr_ratio),
            routing=self._routing,
            adapter=adapter,
        )
        self._members[name] = tuned
        self._train_all()
        return tuned

    def remove(self, name: str) -> None:
        """Take a member out and free its weights."""
        tuned = self._members.pop(name)
        assert tuned.peft is not None
        if not self._members:
            with peft_notices():
                self.base.model = tuned.peft.unload()  # pyright: ignore
            drop_lean_forwards(self.base.model)
            self._known.clear()
            return
        with peft_notices():
            if tuned.adapter in tuned.peft.active_adapters:
                tuned.peft.set_adapter(next(iter(self._members.values())).adapter)
                self._train_all()
            for layer in {one for known in self._known.values() for one in known.layers.values()}:
                layer.delete_adapter(tuned.adapter)
            del tuned.peft.peft_config[tuned.adapter]

    def _find(self, adapter: str, settings: LoraSettings, seed: int) -> "_Known":
        """Let PEFT add an adapter, and see where it did.

        Raises:
            InvalidInput, CannotShare: as `add`.
        """
        others = next(iter(self._members.values())).peft if self._members else None
        wrapper = add_low_rank(self.base, others, adapter, settings, seed)
        model = wrapper.get_base_model()
        model.train(model.training)  # what is new comes in training mode
        if use_lean_lora(wrapper, self._routing) < _lora_layers(wrapper):
            raise _cannot_share(self.base)
        if self.base.compiled:
            use_lean_norms(wrapper)
        layers = {
            place: module
            for place, module in wrapper.named_modules()
            if isinstance(module, LoraLayer) and adapter in module.lora_A
        }
        config: Any = wrapper.peft_config[adapter]
        return _Known(wrapper=wrapper, config=config, layers=layers)

    def _train_all(self) -> None:
        """PEFT trains the active adapter alone; here all are."""
        for member in self._members.values():
            for parameter in member.parameters.values():
                parameter.requires_grad_(True)


Targets = str | tuple[str, ...]


def _targets(settings: LoraSettings) -> Targets:
    targets = settings.target_modules
    return targets if isinstance(targets, str) else tuple(targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Where adapters of some targets lie, as PEFT found out for the first of them."""

    wrapper: PeftModel
    config: LoraConfig
    layers: Mapping[str, Any]
    """PEFT's, by their place in the wrapper, in the model's order."""


def _lora_layers(wrapper: PeftModel) -> int:
    return sum(isinstance(module, LoraLayer) for module in wrapper.modules())


def _cannot_share(base: Base) -> CannotShare:
    return CannotShare(
        f"Clients cannot share a pass over {base.info.name}: its layers mix packed rows",
        todo="Train one client at a time.",
    )
