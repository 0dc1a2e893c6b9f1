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

from peft import PeftModel
from peft.tuners.lora import LoraLayer

from copydesk.errors import CannotShare
from copydesk.models._load import Base
from copydesk.models._lora import Routing, drop_lean_forwards, use_lean_lora
from copydesk.models._low_rank import add_low_rank, rate_factors
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
        others = next(iter(self._members.values())).peft if self._members else None
        wrapper = add_low_rank(self.base, others, adapter, settings, seed)
        if use_lean_lora(wrapper, self._routing) < _lora_layers(wrapper):
            raise _cannot_share(self.base)
        if self.base.compiled:
            use_lean_norms(wrapper)
        # As a run by itself names them, so that checkpoints are the same.
        parameters = {
            place.replace(f".{adapter}.", ".default."): parameter
            for place, parameter in wrapper.named_parameters()
            if f".{adapter}." in place
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
        for member in self._members.values():  # PEFT trains the active adapter alone
            for parameter in member.parameters.values():
                parameter.requires_grad_(True)
        return tuned

    def remove(self, name: str) -> None:
        """Take a member out and free its weights."""
        tuned = self._members.pop(name)
        assert tuned.peft is not None
        if not self._members:
            with peft_notices():
                self.base.model = tuned.peft.unload()  # pyright: ignore
            drop_lean_forwards(self.base.model)
            return
        with peft_notices():
            tuned.peft.set_adapter(next(iter(self._members.values())).adapter)
            tuned.peft.delete_adapter(tuned.adapter)
        for member in self._members.values():
            for parameter in member.parameters.values():
                parameter.requires_grad_(True)


def _lora_layers(wrapper: PeftModel) -> int:
    return sum(isinstance(module, LoraLayer) for module in wrapper.modules())


def _cannot_share(base: Base) -> CannotShare:
    return CannotShare(
        f"Clients cannot share a pass over {base.info.name}: its layers mix packed rows",
        todo="Train one client at a time.",
    )
