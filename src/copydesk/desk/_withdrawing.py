"""Pages that their owner withdrew: kept out of later datasets, and told of what learned from them.

A withdrawal is an artifact of its client, so that it is signed, survives the loss of the catalogue,
and goes when the client goes. It holds hashes and addresses, no text. What learned from a withdrawn
page is not removed by it; it is marked, which is worked out anew each time it is asked for.
"""

import datetime
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from copydesk.corpus import each_material, write_material
from copydesk.desk._learned import learners
from copydesk.desk._place import DATASETS, Place
from copydesk.desk._using import using
from copydesk.errors import Damaged, InvalidInput, UnknownName
from copydesk.records import Document, Material, Rejection
from copydesk.store import Artifact, Entry, json_bytes, json_digest, open_artifact

KIND: Final = "withdrawals"
RULE: Final = "withdrawn"
_FILE: Final = "withdrawn.json"
_LEAST_DIGITS: Final = 8
_PARTS: Final = ("train", "heldout")


class WithdrawnPage(BaseModel):
    """How a withdrawn page is known again: as it was read, by its address, by its words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    sha256: str
    """Of the raw bytes; pages of one exported file may share it."""
    url: str | None
    words: str
    """SHA-256 of its cleaned text."""


class _Withdrawal(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    pages: tuple[WithdrawnPage, ...]
    reason: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that learned from pages, or was measured on pages, that were withdrawn since."""

    kind: Literal["dataset", "version", "foundation"]
    name: str
    """`client/n`, `client@n` or the foundation's name."""
    client: str
    """Whose pages they were."""
    pages: int
    """How many; of a version or foundation 0 where only its dataset or base is known to have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """What a withdrawal did."""

    client: str
    pages: tuple[WithdrawnPage, ...]
    marks: tuple[Mark, ...]
    """All that is marked now because of this client's withdrawals."""


def withdraw(place: Place, client: str, what: str, *, reason: str) -> Withdrawn:
    """Record that a page's owner withdrew it.

    Args:
        place: the workspace.
        client: whose page it is.
        what: its address, or the first eight digits or more of the SHA-256 of its raw bytes, as a
            dataset has it.
        reason: for the record.

    Raises:
        UnknownName: no such client, or no dataset of it has such a page.
        InvalidInput: the start of a hash fits several pages, or is too short.
    """
    with using(place, client, doing="withdraws a page"):
        found = _matching(place, client, what.strip())
        record = _Withdrawal(
            pages=found,
            reason=reason,
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        pages = sorted(page.sha256 for page in found)

        def fill(artifact: Artifact) -> None:
            (artifact.path / _FILE).write_bytes(json_bytes(record.model_dump()))
            artifact.facts.update(pages=len(pages), at=record.at)

        inputs = {"pages": json_digest(pages)}
        place.catalogue.make(kind=KIND, client=client, inputs=inputs, fill=fill)
    return Withdrawn(client=client, pages=found, marks=marks(place, client))


def withdrawn_pages(place: Place, client: str) -> tuple[WithdrawnPage, ...]:
    """All withdrawn pages of a client.

    Raises:
        Damaged: a record is not what was signed.
    """
    found: list[WithdrawnPage] = []
    for entry in place.catalogue.entries(KIND, client):
        open_artifact(entry.path, keys=place.catalogue.keys)
        try:
            read = _Withdrawal.model_validate_json((entry.path / _FILE).read_bytes())
        except ValidationError as wrong:
            raise Damaged(f"{_FILE} is no withdrawal", where=str(entry.path)) from wrong
        found.extend(read.pages)
    return tuple(found)


def marks(place: Place, client: str) -> tuple[Mark, ...]:
    """What learned from, or was measured on, pages of a client that were withdrawn since."""
    pages = withdrawn_pages(place, client)
    if not pages:
        return ()
    found: list[Mark] = []
    digests: set[str] = set()
    for entry in place.catalogue.entries(DATASETS, client):
        if count := sum(1 for item in _pages_of(entry) if is_withdrawn(item, pages)):
            digests.add(entry.digest)
            name = f"{client}/{entry.number}"
            found.append(Mark(kind="dataset", name=name, client=client, pages=count))
    hashes = {page.sha256 for page in pages}
    found.extend(
        Mark(kind=item.kind, name=item.name, client=client, pages=0)
        for item in learners(place, pages=hashes, datasets=digests)
    )
    return tuple(found)


def learned_withdrawn(place: Place, name: str) -> bool:
    """Whether a version or foundation learned from a page that was withdrawn since, of whichever
    client: one that stands on a foundation learned what that did."""
    return any(mark.name == name for mark in all_marks(place))


def all_marks(place: Place) -> Iterator[Mark]:
    """What is marked because of whichever client's withdrawals."""
    for row in place.catalogue.clients():
        if place.catalogue.latest(KIND, row.name) is not None:
            yield from marks(place, row.name)


def without_withdrawn(
    place: Place, client: str, items: Iterable[Material]
) -> tuple[tuple[Material, ...], tuple[Rejection, ...]]:
    """The pages that may be learned from, and the withdrawn ones as rejections."""
    pages = withdrawn_pages(place, client)
    kept: list[Material] = []
    rejected: list[Rejection] = []
    for item in items:
        if is_withdrawn(item, pages):
            rejected.append(
                Rejection(
                    source=item.source,
                    line=None,
                    rule=RULE,
                    reason="its owner withdrew the page",
                    id=item.id,
                )
            )
        else:
            kept.append(item)
    return tuple(kept), tuple(rejected)


def drop_withdrawn(place: Place, client: str, file: Path) -> tuple[Rejection, ...]:
    """Take withdrawn pages out of a file of material that is too large for memory."""
    pages = withdrawn_pages(place, client)
    if not pages:
        return ()
    rejected: list[Rejection] = []
    aside = file.with_name(f".{file.name}.part")

    def kept() -> Iterator[Material]:
        for item in each_material(file):
            left, out = without_withdrawn(place, client, [item])
            rejected.extend(out)
            yield from left

    write_material(aside, kept())
    aside.replace(file)
    return tuple(rejected)


def is_withdrawn(item: Material, pages: Sequence[WithdrawnPage]) -> bool:
    """Whether a page is one of these: by its bytes, its address, or its words."""
    if not pages:
        return False
    words = _words(item)
    url = item.url if isinstance(item, Document) else None
    return any(
        (item.sha256, item.id) == (page.sha256, page.id)
        or words == page.words
        or (url is not None and url == page.url)
        for page in pages
    )  # fmt: skip


def _matching(place: Place, client: str, what: str) -> tuple[WithdrawnPage, ...]:
    """The pages of all datasets of a client that an address or the start of a hash names."""
    address = "://" in what
    digits = what.lower()
    if not address and not (
        len(digits) >= _LEAST_DIGITS and all(letter in "0123456789abcdef" for letter in digits)
    ):
        raise InvalidInput(
            f"{what[:80]!r} is neither an address nor a hash",
            todo=f"Give the page's address, or {_LEAST_DIGITS} or more digits of its SHA-256.",
        )
    found: dict[str, WithdrawnPage] = {}
    for entry in place.catalogue.entries(DATASETS, client):
        for item in _pages_of(entry):
            url = item.url if isinstance(item, Document) else None
            if url == what if address else item.sha256.startswith(digits):
                page = WithdrawnPage(id=item.id, sha256=item.sha256, url=url, words=_words(item))
                found.setdefault(page.model_dump_json(), page)
    if not found:
        raise UnknownName(
            f"No dataset of {client} has the page {what[:200]!r}",
            todo="The field `url` or `sha256` of its lines in train.jsonl and heldout.jsonl says "
            "what to give.",
        )
    if not address and len({(page.sha256, page.id) for page in found.values()}) > 1:
        raise InvalidInput(
            f"{what!r} fits several pages", todo="Give more of the hash, or the page's address."
        )
    return tuple(found.values())


def _pages_of(entry: Entry) -> Iterator[Material]:
    for part in _PARTS:
        yield from each_material(entry.path / f"{part}.jsonl")


def _words(item: Material) -> str:
    return hashlib.sha256(item.own_words.encode("utf-8", "surrogatepass")).hexdigest()
