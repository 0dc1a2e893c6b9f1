"""What a version is measured on: its own dataset's pages, general texts, other clients' pages."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from copydesk.corpus import material_example, read_material
from copydesk.desk._gate_settings import GateSettings
from copydesk.desk._place import DATASETS, Place, version_dataset
from copydesk.errors import NotEnoughText, UnknownName
from copydesk.evaluate import BurrowsDelta, general_chats, general_digest
from copydesk.models import Encoded, encode_example, encode_examples
from copydesk.records import Material
from copydesk.registry import Version
from copydesk.store import Entry, json_digest

_Thing = TypeVar("_Thing")
_DELTA_PAGES = 40
"""Pages of a client by which it is told how much it sounds like another."""
_GENERAL_LENGTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GateText:
    """Examples that are scored together."""

    client: str
    """Whose they are; of general texts the client that is measured."""
    digest: str
    """Of all that decides the token ids."""
    examples: tuple[Encoded, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTexts:
    """All that a version is scored on."""

    dataset: Entry
    """The one it was trained on."""
    trained: tuple[Material, ...]
    kept_back: tuple[Material, ...]
    heldout: GateText
    train: GateText
    general: GateText
    others: Mapping[str, GateText]
    """Client -> its newest held-out pages; those that sound most like the version's client."""
    whole: bool
    """Whether all held-out pages are among those scored."""


def gate_texts(place: Place, version: Version, settings: GateSettings, tokenizer: Any) -> GateTexts:
    """Read and encode what a version is measured on, its lengths cut as in its training.

    Raises:
        UnknownName: the dataset that it was trained on is gone. Of another one nobody knows which
            pages it has seen.
        NotEnoughText: no page can be scored.
    """
    client = version.client
    dataset = version_dataset(place, version)
    if dataset is None:
        raise UnknownName(
            f"The dataset that {version.name} was trained on is not here any more, so that no page "
            "is known to be new to it",
            todo=f"Train a version on the present pages: copydesk train {client}",
        )
    trained, kept_back = material_of(dataset)
    length = int(version.facts.get("settings", {}).get("max_length", _GENERAL_LENGTH))

    def text(whose: str, entry: Entry, part: str, pages: Sequence[Material], most: int) -> GateText:
        examples = [material_example(page) for page in spread(pages, most)]
        encoded = encode_examples(tokenizer, examples, max_length=length).examples
        asked = {"dataset": entry.digest, "part": part, "pages": most, "length": length}
        return GateText(client=whose, digest=json_digest(asked), examples=encoded)

    heldout = text(client, dataset, "heldout", kept_back, settings.pages)
    train = text(client, dataset, "train", trained, min(settings.pages, len(kept_back)))
    if not heldout.examples or not train.examples:
        raise NotEnoughText(
            f"No page of {client} is left to score within max_length={length}",
            todo="Train it with a higher max_length.",
        )
    others = {
        name: text(name, entry, "heldout", material_of(entry)[1], settings.other_pages)
        for name, entry in _nearest(place, client, trained, settings.rivals).items()
    }
    return GateTexts(
        dataset=dataset,
        trained=trained,
        kept_back=kept_back,
        heldout=heldout,
        train=train,
        general=_general(client, tokenizer),
        others={name: text for name, text in others.items() if text.examples},
        whole=len(kept_back) <= settings.pages,
    )


def material_of(entry: Entry) -> tuple[tuple[Material, ...], tuple[Material, ...]]:
    """Training and held-out pages of a dataset."""
    return read_material(entry.path / "train.jsonl"), read_material(entry.path / "heldout.jsonl")


def unseen(text: GateText, pages: Sequence[Material], seen: Sequence[Material]) -> tuple[int, ...]:
    """Which examples of `pages` are not, word for word, among what another model was trained on."""
    known = {_hash(page) for page in seen}
    fresh = {page.id for page in pages if _hash(page) not in known}
    return tuple(at for at, example in enumerate(text.examples) if example.id in fresh)


def spread(items: Sequence[_Thing], most: int) -> list[_Thing]:
    """So many things at even distances; all where there are no more."""
    if len(items) <= most:
        return list(items)
    return [items[at * len(items) // most] for at in range(most)]


def _general(client: str, tokenizer: Any) -> GateText:
    examples = tuple(
        encode_example(tokenizer, name, chat, answer, max_length=_GENERAL_LENGTH)
        for name, chat, answer in general_chats()
    )
    return GateText(client=client, digest=f"general {general_digest()}", examples=examples)


def _nearest(place: Place, client: str, own: Sequence[Material], most: int) -> dict[str, Entry]:
    """The other clients that have pages; of many those that sound most like this one."""
    found = {
        row.name: entry
        for row in place.catalogue.clients()
        if row.name != client and (entry := place.catalogue.latest(DATASETS, row.name)) is not None
    }
    if len(found) <= most:
        return found
    if most == 0:
        return {}
    texts = {
        name: [page.own_words for page in spread(material_of(entry)[0], _DELTA_PAGES)]
        for name, entry in found.items()
    }
    delta = BurrowsDelta.fit({name: pages for name, pages in texts.items() if pages})
    distances = delta.distances("\n\n".join(page.own_words for page in spread(own, _DELTA_PAGES)))
    nearest = sorted(distances, key=lambda name: (distances[name], name))[:most]
    return {name: found[name] for name in nearest}


def _hash(page: Material) -> bytes:
    return hashlib.sha256(page.own_words.encode("utf-8", "surrogatepass")).digest()
