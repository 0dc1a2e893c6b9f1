"""What is compared on whom, and the encoded examples that every method meets."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copydesk.errors import NotEnoughText
from copydesk.evaluate import general_chats, general_digest, instruction_digest
from copydesk.models import (
    Encoded,
    EncodedCache,
    encode_example,
    encode_examples,
    load_tokenizer,
)
from copydesk.records import Example, StyleGuide
from copydesk.store import json_digest
from copydesk.study._prompted import prompted_examples
from copydesk.train import Recipe

_OTHERS = 12
"""Other clients' held-out pages that are scored, spread evenly over the clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """An adapter that was trained already by one of the compared recipes."""

    path: Path
    facts: Mapping[str, Any]
    """Of its manifest: train_seconds, peak_memory_bytes, tokens, curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A client that methods are compared on."""

    client: str
    train: tuple[Example, ...]
    heldout: tuple[Example, ...]
    others: Mapping[str, tuple[Example, ...]]
    """Other clients' held-out examples."""
    guide: StyleGuide
    recipes: tuple[Recipe, ...]
    """One a method, in the order of the table; all on one base."""
    folder: Path
    """For runs' checkpoints; emptied of a run once its cell is kept."""
    trained: Mapping[str, Trained] = field(default_factory=dict[str, Trained])
    """Run digest -> adapter, where one is there already."""
    cache: EncodedCache | None = None
    """Where the client's encoded examples are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Clients, and how thoroughly to look."""

    subjects: tuple[Subject, ...]
    """At least one; the same methods for each."""
    seeds: int = 1
    """Final runs of each method and client, by as many seeds."""
    sweep: bool = False
    """Whether each method's learning rate is looked for first; else it is the recipe's."""
    probe: bool = False
    """Whether instructions are tried, and generation is timed."""
    budget_seconds: float | None = None
    """Time that may be spent; what was measured before costs nothing."""
    hourly_usd: float | None = None
    """What an hour of this machine costs, when the user has said."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Of all subjects, in the order of the table."""
        return tuple(recipe.method for recipe in self.subjects[0].recipes)

    @property
    def clients(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(subject.client for subject in self.subjects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A subject's encoded examples, the same for every method."""

    train: tuple[Encoded, ...]
    heldout: tuple[Encoded, ...]
    prompted: tuple[Encoded, ...]
    general: tuple[Encoded, ...]
    others: tuple[Encoded, ...]
    digest: str
    """Identity of all that methods are trained and scored on, the prompted chat left out."""
    prompted_digest: str
    """Identity of the prompted chats."""

    @property
    def epoch_tokens(self) -> int:
        """Prompt and answer tokens of one pass over the training pages."""
        return sum(len(example.ids) for example in self.train)


def encode_subject(subject: Subject) -> Material:
    """Everything of a client that is trained and scored on.

    Raises:
        NotEnoughText: the limit on lengths leaves nothing to train on, or nothing to score.
    """
    recipe = subject.recipes[0]
    run = recipe.run
    tokenizer = load_tokenizer(recipe.base)
    train = encode_examples(
        tokenizer,
        subject.train,
        max_length=run.max_length,
        overlong=run.overlong,
        cache=subject.cache,
    ).examples
    heldout = encode_examples(
        tokenizer, subject.heldout, max_length=run.max_length, cache=subject.cache
    ).examples
    if not train or not heldout:
        raise NotEnoughText(
            f"No example of {subject.client} to {'score' if train else 'train on'} fits into "
            f"max_length={run.max_length}",
            todo="Raise it, or use overlong=cut."
            if run.overlong == "drop" and not train
            else "Raise it: a brief and its frame alone are longer.",
        )
    others = encode_examples(tokenizer, _spread(subject.others), max_length=run.max_length)
    by_id = {example.id: example for example in subject.heldout}
    prompted = tuple(
        encoded
        for name, references in itertools.groupby(heldout, key=lambda one: one.id)
        for encoded in prompted_examples(
            by_id[name],
            list(references),
            guide=subject.guide,
            examples=subject.train,
            tokenizer=tokenizer,
        )
    )
    return Material(
        train=train,
        heldout=heldout,
        prompted=prompted,
        general=tuple(
            encode_example(tokenizer, name, chat, answer, max_length=run.max_length)
            for name, chat, answer in general_chats()
        ),
        others=others.examples,
        digest=json_digest(
            {
                "dataset": recipe.dataset_digest,
                "template": recipe.template_digest,
                "base": recipe.base.digest,
                "max_length": run.max_length,
                "overlong": run.overlong,
                "others": _ids(others.examples),
                "general": general_digest(),
                "instructions": instruction_digest(),
            }
        ),
        prompted_digest=json_digest(_ids(prompted)),
    )


def _spread(others: Mapping[str, tuple[Example, ...]]) -> list[Example]:
    share = max(1, _OTHERS // max(1, len(others)))
    return [example for name in sorted(others) for example in others[name][:share]]


def _ids(examples: Sequence[Encoded]) -> list[list[int]]:
    return [[example.prompt_length, *example.ids] for example in examples]
