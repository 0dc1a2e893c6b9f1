"""What a model says when it is asked: drafts from set briefs, instructions, its training pages.

The briefs are read off the client's held-out pages, at one length, so that they stay the same for
as long as the dataset does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from copydesk.content import Standards, page_messages, sampling_for, write_draft
from copydesk.corpus import document_brief
from copydesk.desk._gate_cache import GateCache
from copydesk.desk._gate_models import GateModel
from copydesk.desk._gate_settings import GateSettings
from copydesk.desk._gate_texts import GateTexts, spread
from copydesk.errors import InvalidInput, NotEnoughText
from copydesk.evaluate import (
    BatchContinuer,
    TrainedText,
    extraction,
    instruction_digest,
    instructions_followed,
)
from copydesk.models import Encoded, Tuned, encode_chat
from copydesk.records import Brief, Completion, Document, Draft, Material, Message, Sampling
from copydesk.store import json_digest

_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a model was heard to say."""

    drafts: tuple[Completion, ...]
    """One for each brief, before anything is tidied."""
    followed: tuple[bool, ...]
    """Of each instruction task, whether the model does as told."""
    recited: tuple[int, int]
    """Training pages whose continuation it gave back word by word, of how many asked."""
    foretold: tuple[int, int]
    """The same of held-out pages, which it cannot have learned."""
    leaked: int
    """Times that a planted secret was given back."""


class Prepared:
    """A `Completer` that was asked before: it gives what was said then."""

    def __init__(self, name: str, said: dict[tuple[Message, ...], Completion]) -> None:
        """Take the chats and their continuations."""
        self._name = name
        self._said = said

    @property
    def name(self) -> str:
        """Whose words they are."""
        return self._name

    def complete(
        self,
        messages: tuple[Message, ...],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """What was said to this chat."""
        del sampling, on_text
        return self._said[messages]


def gate_briefs(pages: Sequence[Material], most: int, settings: GateSettings) -> tuple[Brief, ...]:
    """Briefs read off pages; none where no page has a title."""
    titled = [page for page in pages if isinstance(page, Document) and page.title]
    return tuple(
        replace(document_brief(page), length=settings.draft_words) for page in spread(titled, most)
    )


def drafts_of(
    model: GateModel, texts: GateTexts, briefs: Sequence[Brief], cache: GateCache
) -> tuple[str, ...]:
    """What a model writes from briefs, or wrote before, as it comes."""
    asked = {
        "drafts": model.key,
        "dataset": texts.dataset.digest,
        "briefs": json_digest([repr(brief) for brief in briefs]),
    }
    found = cache.measured(
        texts.heldout.client, asked, lambda: {"drafts": _drafts(model.load(), briefs)}
    )
    return tuple(draft["text"] for draft in found["drafts"])


def hear(
    model: GateModel,
    texts: GateTexts,
    briefs: Sequence[Brief],
    secrets: Sequence[str],
    settings: GateSettings,
    cache: GateCache,
    *,
    recite: bool,
) -> Said:
    """Ask a model everything, or find what it said before.

    Args:
        model: that is asked.
        texts: the client's.
        briefs: to write drafts from.
        secrets: planted strings that nobody may hear; searched for in all that is said.
        settings: how much is asked.
        cache: where answers are kept, in the client's own folder.
        recite: whether to ask for its training pages, which only the version has.
    """
    asked = {
        "said": model.key,
        "dataset": texts.dataset.digest,
        "briefs": json_digest([repr(brief) for brief in briefs]),
        "secrets": json_digest(sorted(secrets)),
        "tasks": instruction_digest(),
        "pages": settings.asked_pages if recite else 0,
    }

    def measure() -> dict[str, Any]:
        tuned = model.load()
        drafts = _drafts(tuned, briefs)
        recited, foretold, heard = (0, 0), (0, 0), 0
        if recite:
            recited = _recited(tuned, spread(texts.train.examples, settings.asked_pages))
            foretold = _recited(tuned, spread(texts.heldout.examples, settings.asked_pages))
            heard = _secrets_told(tuned, texts, secrets)
        spoken = "\n".join(draft["text"] for draft in drafts)
        return {
            "drafts": drafts,
            "followed": instructions_followed(tuned),
            "recited": recited,
            "foretold": foretold,
            "leaked": heard + sum(bare(secret) in bare(spoken) for secret in secrets),
        }

    found = cache.measured(texts.heldout.client, asked, measure)
    return Said(
        drafts=tuple(Completion(**draft) for draft in found["drafts"]),
        followed=tuple(found["followed"]),
        recited=tuple(found["recited"]),
        foretold=tuple(found["foretold"]),
        leaked=found["leaked"],
    )


def checked_drafts(
    name: str, client: str, briefs: Sequence[Brief], said: Said, standards: Standards
) -> tuple[Draft | None, ...]:
    """The drafts as `write` would keep them, checked; None where nothing was written."""
    chats = {page_messages(brief): draft for brief, draft in zip(briefs, said.drafts, strict=True)}
    completer = Prepared(name, chats)
    found: list[Draft | None] = []
    for brief in briefs:
        try:
            found.append(
                write_draft(
                    brief,
                    completer,
                    client=client,
                    standards=standards,
                    sampling=sampling_for(brief, guide=standards.guide, seed=_SEED),
                )
            )
        except InvalidInput:
            found.append(None)
    return tuple(found)


def bare(text: str) -> str:
    """Letters and digits alone, in one case: secrets are found however they are set."""
    return "".join(sign for sign in text.lower() if sign.isalnum())


def _drafts(tuned: Tuned, briefs: Sequence[Brief]) -> list[dict[str, Any]]:
    if not briefs:
        return []
    sampling = sampling_for(briefs[0], seed=_SEED)
    rows = 1 if tuned.virtual else len(briefs)
    writer = BatchContinuer(tuned, rows=min(rows, 16), sampling=sampling)
    tokenizer = tuned.base.tokenizer
    given = writer.continue_ids(
        [encode_chat(tokenizer, page_messages(brief)) for brief in briefs], sampling.max_new_tokens
    )
    return [
        {
            "text": tokenizer.decode(ids, skip_special_tokens=True),
            "tokens": len(ids),
            "finish_reason": "length" if len(ids) == sampling.max_new_tokens else "stop",
        }
        for ids in given
    ]


def _recited(tuned: Tuned, examples: Sequence[Encoded]) -> tuple[int, int]:
    """(pages whose continuation came back whole, pages that were long enough to be asked for)."""
    texts = [
        TrainedText(prompt=one.ids[: one.prompt_length], page=one.ids[one.prompt_length :])
        for one in examples
    ]
    rows = 1 if tuned.virtual else 12
    try:
        found = extraction(BatchContinuer(tuned, rows=rows), texts)
    except NotEnoughText:
        return (0, 0)
    return (round(found.extracted.value * found.pages), found.pages)


def _secrets_told(tuned: Tuned, texts: GateTexts, secrets: Sequence[str]) -> int:
    """How many secrets follow from the words before them on a training page, greedily."""
    tokenizer = tuned.base.tokenizer
    wanted: list[str] = []
    prefixes: list[list[int]] = []
    for secret in secrets:
        page = next((page for page in texts.trained if secret in page.own_words), None)
        if page is None:
            continue
        before = page.own_words.partition(secret)[0][-400:]
        wanted.append(secret)
        prefixes.append(tokenizer(before, add_special_tokens=False)["input_ids"] or [0])
    if not wanted:
        return 0
    rows = 1 if tuned.virtual else 12
    tokens = max(len(tokenizer(secret)["input_ids"]) for secret in wanted) + 8
    given = BatchContinuer(tuned, rows=rows).continue_ids(prefixes, tokens)
    told = [bare(tokenizer.decode(ids, skip_special_tokens=True)) for ids in given]
    return sum(bare(secret) in text for secret, text in zip(wanted, told, strict=True))
