"""Records that all rooms share: what passes from one room to the next.

Frozen, slotted and keyword-only. They hold text, names and numbers; no tensors, no open files.
Rooms that read them from outside (TOML, JSONL, YAML) validate first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Severity = Literal["error", "warning", "info"]
ChatForm = Literal["messages", "prompt-completion", "alpaca", "sharegpt"]
Form = Literal["page", "text"] | ChatForm
"""The form that a record of a source came in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One cleaned page of a client's own text."""

    id: str
    client: str
    title: str
    """Empty for a plain text, which is learned as it stands, without a brief."""
    text: str
    """Markdown, `\\n` line ends, no front matter."""
    format: str
    """`blog`, `product`, `social`, `doc` or whatever the client calls it."""
    date: str | None = None
    """ISO date `YYYY-MM-DD`, when known."""
    keyword: str | None = None
    source: str
    """File and line, or address, that the document was read from."""
    sha256: str
    """SHA-256 of the raw bytes that the document was read from."""
    url: str | None = None
    """Address of the page, when it came from the web."""
    retrieved: str | None = None
    """When it was fetched or exported: ISO time, UTC."""
    right: str | None = None
    """By what right others than its client may be trained on it, as recorded: `owned`,
    `licence:NAME` or `consent:NOTE`. None: only its client's own models."""

    @property
    def form(self) -> Form:
        """`page`, or `text` for one without a title."""
        return "page" if self.title else "text"

    @property
    def own_words(self) -> str:
        """What the client wrote of it: all."""
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A ready-made example of a client: turns of a user and the assistant's answers."""

    id: str
    client: str
    form: ChatForm
    """The form of the record that it was read from."""
    messages: tuple[Message, ...]
    """A system's turn or none, then user and assistant in turn; the assistant's comes last."""
    learned: tuple[int, ...]
    """Which of `messages` carry loss, by index: assistant's turns, in order, at least one."""
    date: str | None = None
    """ISO date `YYYY-MM-DD`, when known."""
    source: str
    """File and line that it was read from."""
    sha256: str
    """SHA-256 of the raw bytes that it was read from."""

    @property
    def text(self) -> str:
        """What user and assistant say, turn after turn. A system's turn is often shared by all."""
        return "\n\n".join(turn.content for turn in self.messages if turn.role != "system")

    @property
    def own_words(self) -> str:
        """What the client wrote of it: the turns that are learned."""
        return "\n\n".join(self.messages[turn].content for turn in self.learned)


Material = Document | Chat
"""What a dataset holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What to write."""

    title: str
    format: str
    keyword: str | None = None
    points: tuple[str, ...] = ()
    length: int | None = None
    """Wanted length in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What a model learns from: a chat and which of its turns it should give itself.

    One assistant's turn alone is a plain text, learned as it stands without a chat template.
    """

    id: str
    """The document's or chat's id."""
    messages: tuple[Message, ...]
    learned: tuple[int, ...]
    """Which of `messages` carry loss, by index, in order."""
    brief: Brief | None = None
    """What the first turn asks for, where the example is a page."""

    @property
    def text(self) -> str:
        """The last turn that is learned: of a page, its text."""
        return self.messages[self.learned[-1]].content

    @property
    def is_plain_text(self) -> bool:
        """Whether it is learned without a chat template."""
        return len(self.messages) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A source record that was left out, and why."""

    source: str
    line: int | None
    rule: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleGuide:
    """How a client wants to sound."""

    voice: str = ""
    """Instructions to a writer, in prose."""
    banned: tuple[str, ...] = ()
    """Words and phrases never to use; matched whole, in any case."""
    prefer: Mapping[str, str] = field(default_factory=dict[str, str])
    """Avoided term -> the term to use."""
    length: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Format -> fewest and most words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check says of a draft."""

    family: str
    rule: str
    severity: Severity
    start: int
    """First character of the span in the draft's text."""
    end: int
    """One past the last character; equal to `start` where the finding is about the whole."""
    message: str
    source: str
    """Whose rule it is: the client's guide, the brief, or a published source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What was written."""

    client: str
    version: str
    """`client@n` of the adapter, or the name of the base."""
    brief: Brief
    title: str
    slug: str
    meta_description: str
    text: str
    """Markdown without the title."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn. `temperature` 0 is greedy."""

    max_new_tokens: int = 400
    temperature: float = 0.7
    top_p: float = 0.9
    repetition_penalty: float = 1.1
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a completer returned."""

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]


class Completer(Protocol):
    """Anything that continues a chat: an engine, a server, a test double of a writer."""

    @property
    def name(self) -> str:
        """`client@n` or the base's name: what a draft records as its version."""
        ...

    def complete(
        self,
        messages: tuple[Message, ...],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Continue the chat; call `on_text` with each new piece of text as it is made."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One event of long work, for whoever draws it."""

    task: str
    """What is being done, e.g. `train acme (lora)`."""
    done: int
    total: int
    unit: str = "steps"
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    """Figures to show beside the bar, e.g. `loss`, `tokens_per_second`."""


Listener = Callable[[Progress], None]
"""Receives the events of long work; must not raise."""


def ignore_progress(_: Progress) -> None:
    """The listener for callers that do not want to know."""


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
    predicted_train_seconds: float | None = None
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
    would_change: tuple[str, ...]
    """What, if it were otherwise, would make it the runner-up."""
