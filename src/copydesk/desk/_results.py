"""What the verbs return, where no room below has a record for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from copydesk.errors import CopydeskError
from copydesk.records import Choice, Draft, Finding, Form, FunnelStep, Rejection
from copydesk.registry import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """A client as `client list` shows it."""

    name: str
    documents: int
    """Training and held-out pages and chats of the newest dataset."""
    versions: int
    style_guide: bool
    live: str | None = None
    """The version that speaks, `client@n`."""
    stale: bool = False
    """Whether what speaks, or the newest version, is bound to another base than the workspace's;
    `train --stale` replaces such versions in one pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """What `curate` made."""

    client: str
    dataset: str
    """`client/number` of the dataset."""
    path: Path
    kept: int
    train: int
    heldout: int
    split: str
    """`time`: the newest pages are held out; `seed`: drawn, as asked or for want of dates."""
    forms: Mapping[Form, int]
    """How many records of each form were kept, the most frequent first."""
    rejected: tuple[Rejection, ...]
    """At most the first thousand of a corpus cleaned by workers; all are in `rejected.jsonl`."""
    funnel: tuple[FunnelStep, ...]
    """What each step of cleaning took and left, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedVersion:
    """A version that `train` made."""

    client: str
    version: str
    method: str
    path: Path
    heldout_loss: float
    heldout_loss_before: float
    train_seconds: float
    tokens_per_second: float
    peak_memory_bytes: int
    resumed_at: int
    """Step of the checkpoint that the run went on from; 0 when it started afresh."""
    steps: int
    """Optimiser steps that were run; fewer than planned where it stopped early."""
    kept_step: int
    """The step whose weights the version has: the last, or with early stopping the best."""
    cut_examples: int
    """Training examples that lost their end to `max_length`."""
    split_examples: int
    """Training examples that were made into several by `overlong=split`."""
    dropped_examples: int
    """Training examples that were left out, by `overlong=drop` or for want of room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedClient:
    """A client whose training failed; the others went on."""

    client: str
    error: CopydeskError


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What `train` did for each client."""

    versions: tuple[TrainedVersion, ...]
    failed: tuple[FailedClient, ...]
    choice: Choice | None = None
    """How the method was chosen; None where the caller named it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A draft file and what the checks say of it."""

    path: Path
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A draft and the Markdown file it was kept in."""

    draft: Draft
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A measured condition."""

    name: str
    value: float
    threshold: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What `eval` found."""

    version: str
    evaluation: Evaluation
    """As it is recorded."""
    losses: Mapping[str, Mapping[str, float]]
    """The matrix of clients, as far as the gates needed it: whose version (`base`: the untuned
    one) -> whose held-out pages -> loss, nats a token. It is not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What `foundation train` made. Losses are nats a token."""

    name: str
    path: Path
    parent: str
    """Name of the base that it was tuned from."""
    parent_digest: str
    pages: int
    """Trained on."""
    rights: Mapping[str, int]
    """Recorded right -> pages trained on by it."""
    mix: float
    """Share of general chats among the tokens, as reached."""
    heldout_loss: float
    heldout_loss_before: float
    general_loss: float
    """On general chats that were not trained on."""
    general_loss_before: float
    train_seconds: float
    peak_memory_bytes: int
    gates: tuple[Gate, ...]
    registered: bool
    """Whether it passed its gates and is a base of the workspace now."""
