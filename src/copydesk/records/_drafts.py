"""How a client wants to sound, what was written, and what is said of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from copydesk.records._texts import Brief, Message

Severity = Literal["error", "warning", "info"]

RuleValue = bool | int | float | str | tuple[str, ...]
"""What a rule of the checks may be set to."""


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
    rules: Mapping[str, Mapping[str, RuleValue]] = field(
        default_factory=dict[str, Mapping[str, RuleValue]]
    )
    """Rule -> the values that the client sets of it, as `content/rules.toml` names them."""


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
    date: str | None = None
    """When the source was published, or last compared with the rule: an ISO date or its start."""
    fact: str | None = None
    """The brief's fact that supports what stands there; None where none does."""
    waived: str | None = None
    """Why somebody lets it stand; None where nobody does."""


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
    chosen: str = ""
    """How it was chosen: of how many candidates, by what, and its seed."""
    variant: int = 1
    """Which of the variants of its brief it is, from 1."""
    request_id: str = ""
    """Of the request that it was written for, where one came over HTTP."""


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
