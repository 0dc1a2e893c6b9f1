"""`curate`: a client's sources become a dataset with its card."""

import itertools
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from copydesk.content import check, make_brief
from copydesk.corpus import (
    Curated,
    CurateSettings,
    Source,
    add_rejections,
    clean_corpus,
    curate,
    dataset_card,
    each_material,
    each_rejection,
    in_processes,
    read_right,
    write_material,
    write_rejections,
)
from copydesk.desk._place import DATASETS, Place, client_style_guide
from copydesk.desk._results import Curation
from copydesk.desk._sources import gather_sources, with_right
from copydesk.desk._withdrawing import RULE as WITHDRAWN
from copydesk.desk._withdrawing import drop_withdrawn, without_withdrawn
from copydesk.errors import InvalidInput, NotEnoughText
from copydesk.records import Document, Form, FunnelStep, Listener, StyleGuide
from copydesk.store import Artifact, file_sha256, held, json_digest

if TYPE_CHECKING:
    from copydesk.corpus.web import WebSettings

_SHOWN = 1000


def curate_client(
    place: Place,
    client: str,
    sources: Sequence[str | os.PathLike[str]],
    *,
    columns: Mapping[str, str] | None,
    keep: frozenset[str],
    contacts: str,
    workers: int | None,
    right: str | None,
    web: "WebSettings | None",
    listener: Listener,
) -> Curation:
    """See `Workspace.curate`."""
    place.catalogue.client(client)
    settings = CurateSettings(
        heldout_share=place.config.heldout_share,
        split=place.config.split,
        seed=place.config.seed,
        keep=keep,
        contacts="scrub" if contacts == "scrub" else "flag",
    )
    if right is not None:
        right = read_right(right)
    gathered = gather_sources(place, client, sources, web=web, listener=listener)
    if workers is not None:
        return _curate_large(
            place, client, _files_only(gathered, right), settings, workers, listener
        )
    guide = client_style_guide(place, client)
    found = with_right(
        curate(
            gathered,
            client=client,
            settings=settings,
            columns=columns,
            violations=lambda page: _violations(page, guide),
            listener=listener,
        ),
        right,
    )
    found = _without_withdrawn(place, client, found)
    inputs = {"pages": json_digest(sorted(page.sha256 for page in (*found.train, *found.heldout)))}

    def fill(artifact: Artifact) -> None:
        write_material(artifact.path / "train.jsonl", found.train)
        write_material(artifact.path / "heldout.jsonl", found.heldout)
        write_rejections(artifact.path / "rejected.jsonl", found.rejected)
        _write_card(artifact.path, client, found.funnel, found.split)
        artifact.facts.update(
            train=len(found.train),
            heldout=len(found.heldout),
            split=found.split,
            forms=found.forms,
        )

    entry = place.catalogue.make(kind=DATASETS, client=client, inputs=inputs, fill=fill)
    return Curation(
        client=client,
        dataset=f"{client}/{entry.number}",
        path=entry.path,
        kept=len(found.train) + len(found.heldout),
        train=len(found.train),
        heldout=len(found.heldout),
        split=found.split,
        forms=found.forms,
        rejected=found.rejected,
        funnel=found.funnel,
    )


def _without_withdrawn(place: Place, client: str, found: Curated) -> Curated:
    """What may be learned from. `--keep` does not bring a withdrawn page back."""
    parts = [without_withdrawn(place, client, part) for part in (found.train, found.heldout)]
    (train, out), (heldout, more) = parts
    if not (rejected := (*out, *more)):
        return found
    if not train or not heldout:
        raise NotEnoughText(
            f"So many of {client}'s pages were withdrawn that {len(train)} are left to train on "
            f"and {len(heldout)} to hold out",
            todo="Add more pages.",
        )
    step = FunnelStep(
        step=WITHDRAWN, pages=len(found.train) + len(found.heldout), rejected=len(rejected)
    )
    return replace(
        found,
        train=train,
        heldout=heldout,
        rejected=(*found.rejected, *rejected),
        funnel=(*found.funnel, step),
    )


def _files_only(gathered: Sequence[Source], right: str | None) -> list[Path]:
    files = [source for source in gathered if isinstance(source, Path)]
    if len(files) < len(gathered) or right is not None:
        raise InvalidInput(
            "A large corpus is cleaned from JSON lines only, which name their own rights",
            where="workers",
            todo="Leave --workers out, or write the pages and their field `right` to a file first.",
        )
    return files


def _violations(page: Document, guide: StyleGuide) -> int:
    """How often the page does what the guide forbids, its title included.

    The guide's lengths are a draft's business: a longer page can still be one to learn from.
    """
    rules = replace(guide, length={})
    brief = make_brief(title=page.title[:200] or page.id, format=page.format)
    findings = check(page.text, title=page.title, brief=brief, guide=rules)
    return sum(finding.family == "style" for finding in findings)


def _curate_large(
    place: Place,
    client: str,
    sources: Sequence[Path],
    settings: CurateSettings,
    workers: int,
    listener: Listener,
) -> Curation:
    """In parts, by processes; what a killed run has done is found again by what it was asked."""
    asked = {
        "files": {
            str(path.resolve()): [path.stat().st_size, path.stat().st_mtime_ns]
            for path in sources
            if path.is_file()
        },
        "settings": repr(settings),
    }
    work = place.cache_folder(client) / f"corpus-{json_digest(asked)[:16]}"
    with held(place.locks, f"{client}.corpus", doing="cleans its corpus"):
        made: list[tuple[int, int, str, tuple[FunnelStep, ...]]] = []

        def fill(artifact: Artifact) -> None:
            found = clean_corpus(
                sources,
                artifact.path,
                client=client,
                work=work,
                settings=settings,
                mapper=in_processes(workers),
                listener=listener,
            )
            out = [
                drop_withdrawn(place, client, artifact.path / f"{part}.jsonl")
                for part in ("train", "heldout")
            ]
            train, heldout = found.train - len(out[0]), found.heldout - len(out[1])
            funnel = found.funnel
            if rejected := (*out[0], *out[1]):
                add_rejections(artifact.path / "rejected.jsonl", rejected)
                whole = found.train + found.heldout
                funnel = (*funnel, FunnelStep(step=WITHDRAWN, pages=whole, rejected=len(rejected)))
            _write_card(artifact.path, client, funnel, found.split)
            artifact.facts.update(train=train, heldout=heldout, split=found.split)
            made.append((train, heldout, found.split, funnel))

        inputs = {
            "pages": json_digest(sorted(file_sha256(path) for path in sources if path.is_file()))
        }
        entry = place.catalogue.make(kind=DATASETS, client=client, inputs=inputs, fill=fill)
        shutil.rmtree(work, ignore_errors=True)
    train, heldout, split, funnel = made[0]
    forms: dict[Form, int] = {"page": train + heldout}
    return Curation(
        client=client,
        dataset=f"{client}/{entry.number}",
        path=entry.path,
        kept=train + heldout,
        train=train,
        heldout=heldout,
        split=split,
        forms=forms,
        rejected=tuple(itertools.islice(each_rejection(entry.path / "rejected.jsonl"), _SHOWN)),
        funnel=funnel,
    )


def _write_card(folder: Path, client: str, funnel: Sequence[FunnelStep], split: str) -> None:
    text, page = dataset_card(
        client,
        train=each_material(folder / "train.jsonl"),
        heldout=each_material(folder / "heldout.jsonl"),
        rejected=each_rejection(folder / "rejected.jsonl"),
        funnel=funnel,
        split=split,
    )
    (folder / "card.md").write_text(text, encoding="utf-8", newline="\n")
    (folder / "card.html").write_text(page, encoding="utf-8", newline="\n")
