"""What comparisons measured, plans predict, and choices rest on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

RowStatus = Literal["done", "out_of_memory", "diverged", "cut", "failed"]
"""`cut` is a method that the budget ended; its figures are those of what was done by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweptRate:
    """A learning rate that was tried before the comparison."""

    learning_rate: float
    loss: float | None
    """On training pages set aside for the sweep, in nats a token; None where it diverged."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """One point of a method's training curve."""

    step: int
    seconds: float
    """Training time until then, evaluations left out."""
    train_loss: float | None = None
    heldout_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One line of a comparison. Losses are nats a token over the held-out answers."""

    method: str
    """`base`, `prompted`, or a tuning method."""
    status: RowStatus
    error: str | None = None
    learning_rate: float | None = None
    trainable_parameters: int | None = None
    peak_memory_bytes: int | None = None
    train_seconds: float | None = None
    cost_usd: float | None = None
    """Of the training time and the sweep."""
    heldout_loss: float | None = None
    heldout_loss_ci: tuple[float, float] | None = None
    relative_performance: float | None = None
    """Share of full fine-tuning's gain over the base, in percent: base 0, full 100."""
    relative_performance_ci: tuple[float, float] | None = None
    forgetting: float | None = None
    """Loss on general text after tuning minus before; above zero means forgotten."""
    general_loss: float | None = None
    others_loss: float | None = None
    """Loss on the other clients' held-out pages; None when there are no other clients."""
    others_change: float | None = None
    """`others_loss` minus the base's."""
    artifact_bytes: int | None = None
    tokens_per_second: float | None = None
    """Training tokens, prompt and answer, a second."""
    clients_in_pass: int = 1
    """How many clients were trained beside one another when the memory was measured."""
    seeds: int = 1
    """Runs behind the figures: losses and times are means over them, memory is the greatest."""
    swept: tuple[SweptRate, ...] = ()
    """The rates that were tried; the best on pages set aside from training is `learning_rate`."""
    sweep_seconds: float | None = None
    epoch_seconds: float | None = None
    """Training time of one pass over the client's pages."""
    seconds_to_95: float | None = None
    """Training time until 95% of full fine-tuning's gain; None where it was not reached."""
    instruction_score: float | None = None
    """Share of the instruction probe's tasks done as told, 0 to 1."""
    instruction_change: float | None = None
    """`instruction_score` minus the base's."""
    generation_tokens_per_second: float | None = None
    """Of one request, as the method leaves the model."""
    merged_tokens_per_second: float | None = None
    """The same with the adapter folded into the base; None for what does not merge."""
    tied_with: tuple[str, ...] = ()
    """Methods whose intervals of relative performance overlap this one's."""
    predicted_peak_memory_bytes: int | None = None
    """What the plan said before anything was run; None where this machine was not measured yet."""
    predicted_epoch_seconds: float | None = None
    """The same of `epoch_seconds`."""
    curve: tuple[LossPoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Tuning methods measured on held-out pages of one client, or of several pooled."""

    client: str
    """Its name; of several, their names joined by ` + `."""
    base: str
    created: str
    """ISO time, UTC."""
    machine: str
    train_documents: int
    heldout_documents: int
    train_tokens: int
    heldout_tokens: int
    rows: tuple[MethodRow, ...]
    verdict: str
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """Method -> its settings as text, for the report's footnotes."""
    clients: tuple[str, ...] = ()
    """Whose pages were pooled; empty in comparisons from before there was pooling."""
    budget_seconds: float | None = None
    spent_seconds: float | None = None
    """Time of all that was run for it, sweeps and scoring included."""
    recommended: str | None = None
    """The cheapest of the methods that are tied with the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryParts:
    """Bytes of training's peak, by what they hold."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    quantisation: int
    """Constants of quantised weights; 0 where nothing is."""
    overhead: int
    """Runtime, libraries and allocator."""

    @property
    def total(self) -> int:
        """Their sum."""
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.activations
            + self.logits
            + self.quantisation
            + self.overhead
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would take, predicted before it is run."""

    model: str
    method: str
    hardware: str
    """Name of the hardware card, with the count: `h100x8`, or `this`."""
    settings: Mapping[str, str]
    total_parameters: int
    trainable_parameters: int
    memory: MemoryParts
    """Of the most loaded device."""
    peak_memory_bytes: int
    device_memory_bytes: int
    """What one device has."""
    fits: bool
    epoch_tokens: int
    epoch_seconds: float | None
    """None where the hardware's rates are not known."""
    cost_usd: float | None
    """Of the whole run; None where the hardware has no price."""
    artifact_bytes: int
    """What the method leaves: an adapter, or a base."""
    checkpoint_bytes: int
    """A resumable checkpoint: trained weights and optimiser state."""
    largest_batch_tokens: int | None
    """Most tokens run at once that fit; None where not even one sequence does."""
    notes: tuple[str, ...] = ()
    """What the figures assume, and what to change where it does not fit."""


Latency = Literal["any", "lowest"]
"""How fast generation must be: `lowest` is as fast as the plain base."""
Purpose = Literal["client", "foundation"]
"""What is tuned: a client's voice, or a base that adapters will stand on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One ground of a choice."""

    text: str
    """A sentence, with the numbers that it rests on."""
    source: str
    """Whose finding it is: a publication, or a comparison of this workspace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The method that is recommended, and why."""

    method: str
    settings: Mapping[str, str]
    reasons: tuple[Reason, ...]
    runner_up: str
    """The second choice; empty where no other method can be used."""
    would_change: tuple[str, ...]
    """What, if it were so, would make it the runner-up."""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    """Points of every method that can be used, the best first: the share of full fine-tuning's gain
    that it is reckoned to reach, in percent, minus what its cost counts."""
    plan: Plan | None = None
    """What the chosen method would take, where that was predicted."""
