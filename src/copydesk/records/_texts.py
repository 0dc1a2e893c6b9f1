"""Pages, chats and examples, and what was left out of them."""

from dataclasses import dataclass
from typing import Literal

ChatForm = Literal["messages", "prompt-completion", "alpaca", "sharegpt"]
Form = Literal["page", "text"] | ChatForm
"""The form that a record of a source came in."""
Intent = Literal["informational", "commercial", "transactional", "navigational"]
"""What a searcher is after (Broder 2002), with the commercial one that the trade added."""


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
class Fact:
    """What a draft may state."""

    text: str
    source: str | None = None
    """Who says so: an address or a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An address that a draft should link to."""

    url: str
    text: str = ""
    """Words to link; empty leaves them to the writer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What to write."""

    title: str
    """Empty where the writer is to find one."""
    format: str
    keyword: str | None = None
    points: tuple[str, ...] = ()
    length: int | None = None
    """Wanted length in words."""
    length_range: tuple[int, int] | None = None
    """Fewest and most words."""
    keywords: tuple[str, ...] = ()
    """Secondary search phrases."""
    intent: Intent | None = None
    """What its readers are after; None leaves it to the title, the keyword and the format."""
    audience: str | None = None
    outline: tuple[str, ...] = ()
    """Headings of the whole page, in order; of a part of a page, `points` are that part's."""
    facts: tuple[Fact, ...] = ()
    experience: tuple[str, ...] = ()
    """First-hand detail: what the client did, saw or measured."""
    links: tuple[Link, ...] = ()
    call_to_action: str | None = None
    banned_claims: tuple[str, ...] = ()
    """Statements that the draft must not make."""
    author: str | None = None
    price: str | None = None
    """A decimal number, with `currency`: what structured data may say of an offer."""
    currency: str | None = None
    """ISO 4217 code."""


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
    id: str | None = None
    """Of the page, where it could be read: what `keep` names to take it after all."""
    value: float | None = None
    """What was measured, where the rule has a threshold."""
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelStep:
    """One step of cleaning, counted."""

    step: str
    pages: int
    """That entered it."""
    rejected: int
    changed: int = 0
    """That it changed and kept."""
    flagged: int = 0
    """That it remarks on and kept as they are."""
