"""A base under a method: what the loop trains, what is scored and what speaks."""

import contextlib
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from copydesk.models._load import Base
from copydesk.models._lora import NOBODY, Routing, Span
from copydesk.models._quiet import peft_notices


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualTokens:
    """P learned positions before every text, held by PEFT."""

    kind: Literal["prompt", "prefix"]
    wrapper: PeftModel

    def embeddings(self) -> torch.Tensor:
        """Of prompt tuning: [P, D], in the parameters' own format, with gradient."""
        assert self.kind == "prompt"
        return self.wrapper.get_prompt(batch_size=1)[0]

    def cache(self) -> Any:
        """Of prefix tuning: a fresh cache of keys and values [1, H_kv, P, K], with gradient."""
        assert self.kind == "prefix"
        return self.wrapper.get_prompt(batch_size=1)


@dataclass(slots=True, kw_only=True)
class Tuned:
    """A base under a method: the model to run and the parameters to train."""

    method: str
    base: Base
    model: PreTrainedModel
    """The bare transformers model; a method's modules are injected into it."""
    parameters: Mapping[str, torch.nn.Parameter]
    """What is trained, by name, in a fixed order; empty when the adapter was loaded for use."""
    peft: PeftModel | None = None
    virtual: VirtualTokens | None = None
    rate_factors: Mapping[str, float] = field(default_factory=dict[str, float])
    """Parameter's name -> multiple of the run's learning rate; 1 where it is not named."""
    initial: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    """PiSSA's first A and B, by parameter: what the base lacks while it is trained."""
    bottleneck: Any = None
    """The `BottleneckConfig` of a bottleneck adapter."""
    routing: Routing | None = None
    """Of LoRA's lean layers, which may hold the adapters of others too."""
    adapter: str = "default"
    """The adapter's name in `peft`."""

    @property
    def trainable_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def virtual_tokens(self) -> int:
        """Positions of the context window that the method itself takes."""
        if self.virtual is None:
            return 0
        config: Any = self.virtual.wrapper.active_peft_config
        return int(config.num_virtual_tokens)

    def routed(self, lengths: tuple[int, ...], filled: int = 0) -> AbstractContextManager[None]:
        """Let rows of these lengths run through this adapter, where nothing else is said, and
        `filled` rows after them through none."""
        if self.routing is None:
            return contextlib.nullcontext()
        own = Span(adapter=self.adapter, lengths=lengths, seeds=())
        spans = self.routing.spans or (own,)
        if filled:
            spans = (*spans, Span(adapter=NOBODY, lengths=(filled,), seeds=()))
        return self.routing.over(spans)

    def generate(self, *args: Any, **options: Any) -> torch.Tensor:
        """What transformers' `generate` gives, behind the method's virtual tokens if it has any."""
        speaker: Any = self.virtual.wrapper if self.virtual else self.model
        with peft_notices():
            return speaker.generate(*args, **options)


def untuned(base: Base) -> Tuned:
    """The base as it is, to be scored or to speak."""
    return Tuned(method="base", base=base, model=base.model, parameters={})


@contextlib.contextmanager
def seeded(seed: int) -> Generator[None]:
    """Draw initial weights from `seed`, and leave the global stream as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
