"""Sources in; a client's pages, cleaned, told apart and split, out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from copydesk.corpus._cleaning import Violations, clean_pages
from copydesk.corpus._duplicates import without_duplicates
from copydesk.corpus._pages import Page
from copydesk.corpus._readers import Source
from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._sources import read_pages
from copydesk.corpus._split import heldout_ids
from copydesk.errors import InvalidInput, NotEnoughText
from copydesk.records import (
    Form,
    FunnelStep,
    Listener,
    Material,
    Progress,
    Rejection,
    ignore_progress,
)

_PAGES_AN_EVENT: Final = 50
_DEFAULTS: Final = CurateSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """A client's pages and chats, each part oldest first (undated ones last, then by id)."""

    train: tuple[Material, ...]
    heldout: tuple[Material, ...]
    rejected: tuple[Rejection, ...]
    """By source and line."""
    split: Literal["time", "seed"]
    """How it was split in fact: `seed` where `time` was asked for and a page has no date."""
    funnel: tuple[FunnelStep, ...]
    """What each step took and left, in order."""

    @property
    def forms(self) -> dict[Form, int]:
        """How many of each form were kept, the most frequent first."""
        counts: Counter[Form] = Counter(item.form for item in (*self.train, *self.heldout))
        return dict(counts.most_common())


def curate(
    sources: Sequence[Source],
    *,
    client: str,
    settings: CurateSettings = _DEFAULTS,
    columns: Mapping[str, str] | None = None,
    violations: Violations | None = None,
    listener: Listener = ignore_progress,
) -> Curated:
    """Read, clean, deduplicate and split a client's pages and ready-made chats.

    Duplicates are sought over the whole set before the split, so that no held-out page has a near
    copy among the pages trained on. The same sources and settings give the same outcome, in
    whatever order the sources are named.

    With `split="time"` and any page without a date the whole set is split by seed instead: the
    place in time of an undated page is not known, and to drop such pages would lose text.

    Args:
        sources: files, folders and sites, as for `read_sources`.
        client: whose pages they are.
        settings: limits, likeness and split.
        columns: our field -> the column of a CSV or XLSX file.
        violations: counts what a page does against its client's style guide.
        listener: receives an event per source and per fifty pages compared.

    Raises:
        InvalidInput: a source is wrong as a whole.
        NotEnoughText: too few pages are left to train on and to hold out.
    """
    if not sources:
        raise InvalidInput("No source was given", todo="Name at least one file or folder.")
    pages, rejected = _read(sources, client, settings, columns, listener)
    read = FunnelStep(step="read", pages=len(pages) + len(rejected), rejected=len(rejected))
    pages, unfit, steps = clean_pages(pages, settings, violations)
    compared = 0

    def count_page() -> None:
        nonlocal compared
        compared += 1
        if compared % _PAGES_AN_EVENT == 0 or compared == len(pages):
            listener(
                Progress(
                    task=f"compare pages of {client}",
                    done=compared,
                    total=len(pages),
                    unit="pages",
                )
            )

    kept, duplicates = without_duplicates(
        pages, threshold=settings.near_duplicate, on_page=count_page, keep=settings.keep
    )
    same = sum(rejection.rule != "near-duplicate" for rejection in duplicates)
    funnel = (
        read,
        *steps,
        FunnelStep(step="exact duplicates", pages=len(pages), rejected=same),
        FunnelStep(
            step="near duplicates", pages=len(pages) - same, rejected=len(duplicates) - same
        ),
    )
    rejected = sorted(
        [*rejected, *unfit, *duplicates], key=lambda r: (r.source, r.line or 0, r.rule, r.reason)
    )
    material = [page.material for page in kept]
    heldout_count = settings.heldout_count(len(material))
    if len(material) - heldout_count < settings.min_train:
        raise _not_enough(client, len(material), rejected, settings)
    dated = all(item.date for item in material)
    split: Literal["time", "seed"] = "time" if settings.split == "time" and dated else "seed"
    held = heldout_ids(
        material,
        heldout_count,
        split=split,
        seed=settings.seed,
        near_duplicate=settings.near_duplicate if settings.keep else None,
    )
    return Curated(
        train=tuple(item for item in material if item.id not in held),
        heldout=tuple(item for item in material if item.id in held),
        rejected=tuple(rejected),
        split=split,
        funnel=funnel,
    )


def _read(
    sources: Sequence[Source],
    client: str,
    settings: CurateSettings,
    columns: Mapping[str, str] | None,
    listener: Listener,
) -> tuple[list[Page], list[Rejection]]:
    pages: list[Page] = []
    rejected: list[Rejection] = []
    # In one order whatever order they were named in: of a file met twice, the first path is told.
    ordered = sorted(set(sources), key=str)
    read = 0

    def count_source() -> None:
        nonlocal read
        read += 1
        listener(Progress(task=f"read {client}", done=read, total=len(ordered), unit="sources"))

    for found in read_pages(
        ordered, client=client, columns=columns, settings=settings, on_source=count_source
    ):
        if isinstance(found, Page):
            pages.append(found)
        else:
            rejected.append(found)
    return pages, rejected


def _not_enough(
    client: str, kept: int, rejected: Sequence[Rejection], settings: CurateSettings
) -> NotEnoughText:
    counts = Counter(rejection.rule for rejection in rejected)
    examples = {rejection.rule: rejection for rejection in reversed(rejected)}
    reasons = [
        f"{count} {rule} (first: {_place(examples[rule])}: {examples[rule].reason})"
        for rule, count in counts.most_common()
    ]
    left_out = f"; {len(rejected)} were rejected: {'; '.join(reasons)}" if reasons else ""
    needed = settings.fewest_documents()
    heldout = settings.heldout_count(needed)
    return NotEnoughText(
        f"Client {client} has {kept} usable {'page' if kept == 1 else 'pages'} and needs at least "
        f"{needed}: {needed - heldout} to train on and {heldout} to hold out{left_out}",
        todo="Add pages, or mend those that were rejected.",
    )


def _place(rejection: Rejection) -> str:
    return rejection.source if rejection.line is None else f"{rejection.source}:{rejection.line}"
