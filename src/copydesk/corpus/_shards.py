"""One part of a corpus at a time: what a worker process does, with files in and files out.

A corpus is JSON lines, cut into parts by size, so that the parts do not depend on how many workers
there are. `survey` counts what a page alone does not tell: its site's lines, its languages.
`clean` takes a part's pages through the steps and leaves them with the sketches by which
duplicates are found. What either writes is whole or not there: the file that says that a part is
done is written last.
"""

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from copydesk.corpus._boilerplate import shared_lines, site_name, site_of
from copydesk.corpus._cleaning import Cleaner, Count, new_counts
from copydesk.corpus._kernels import load_kernels
from copydesk.corpus._language import language_of
from copydesk.corpus._lines import material_line, rejection_line
from copydesk.corpus._pages import TEXT_FIELDS, Page
from copydesk.corpus._readers import jsonl_records
from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._signals import Hashes, distinct, shingle_hashes
from copydesk.corpus._sketches import BANDS, SKETCH, band_keys, bottom_sketch
from copydesk.corpus._sources import common_folder, page_of, place_in
from copydesk.records import Chat, Document, Rejection
from copydesk.store import replace_bytes

PART_BYTES: Final = 16 * 1024 * 1024
_BYTES_READ: Final = 1 << 20
_LANGUAGE_EVERY: Final = 8
"""The shares of languages are counted on one page in eight: telling a language takes long."""
NO_DAY: Final = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Whole lines of one file."""

    number: int
    path: Path
    name: Path
    """The file's place in the folder that holds all of the corpus's files."""
    start: int
    end: int
    """One past its last byte."""
    client: str
    work: Path
    """Where its results go."""
    settings: CurateSettings
    first_line: int = 1
    """Known once the parts before it were surveyed."""

    def file(self, what: str) -> Path:
        """Where one of its results lies."""
        return self.work / f"{self.number:06}-{what}"

    def content(self) -> bytes:
        """Its bytes."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.end - self.start)


def parts_of(
    files: Sequence[Path], *, client: str, work: Path, settings: CurateSettings
) -> Iterator[Part]:
    """The files, in the order of their places, in parts of about 16 MiB, cut at line ends."""
    number = 0
    root = common_folder(files)
    names = {path: place_in(root, path) for path in set(files)}
    for path in sorted(names, key=lambda path: names[path].parts):
        size = path.stat().st_size
        start = 0
        with path.open("rb") as file:
            while start < size:
                end = min(size, start + PART_BYTES)
                if end < size:
                    file.seek(end)
                    end += _to_line_end(file)
                yield Part(
                    number=number,
                    path=path,
                    name=names[path],
                    start=start,
                    end=end,
                    client=client,
                    work=work,
                    settings=settings,
                )
                start, number = end, number + 1


def _to_line_end(file: IO[bytes]) -> int:
    """How many bytes there are to the end of the line, its mark included."""
    passed = 0
    while piece := file.read(_BYTES_READ):
        at = piece.find(b"\n")
        if at >= 0:
            return passed + at + 1
        passed += len(piece)
    return passed


def hash_of(text: str) -> int:
    """64 bits of a name or text, the same everywhere."""
    return _hash(text.encode())


def _hash(raw: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def survey(part: Part) -> int:
    """Count a part's lines, its languages, and the lines that its sites repeat.

    Writes `survey.npz`: `lines`, the distinct lines of each page; `sites` of those lines, by
    number; `site_hashes` and `site_pages` of these sites. Returns the part's number.
    """
    if part.file("survey.json").exists():
        return part.number
    content = part.content()
    languages: Counter[str] = Counter()
    numbers: dict[int, int] = {}
    pages: Counter[int] = Counter()
    hashes: list[Hashes] = []
    sites: list[int] = []
    for number, record in enumerate(_loose_records(content)):
        text = next((t for name in TEXT_FIELDS if isinstance(t := record.get(name), str) and t), "")
        if not text:
            continue
        try:
            site = _site_of(record, part.client)
            lines, _ = shared_lines(text.replace("\r\n", "\n"))
        except UnicodeEncodeError:  # half of a surrogate pair: named when the page is cleaned
            continue
        language = language_of(text) if number % _LANGUAGE_EVERY == 0 else None
        if language:
            languages[language] += 1
        site = numbers.setdefault(site, len(numbers))
        pages[site] += 1
        hashes.append(distinct(lines))
        sites.append(site)
    lengths = [len(one) for one in hashes]
    np.savez(
        part.file("survey.npz"),
        lines=np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint64),
        sites=np.repeat(np.array(sites, dtype=np.int32), lengths),
        site_hashes=np.array(list(numbers), dtype=np.uint64),
        site_pages=np.array([pages[n] for n in range(len(numbers))], dtype=np.int64),
    )
    marker = {"lines": content.count(b"\n"), "languages": dict(sorted(languages.items()))}
    replace_bytes(part.file("survey.json"), json.dumps(marker).encode())
    return part.number


def _loose_records(content: bytes) -> Iterator[Mapping[str, Any]]:
    """What is a JSON object; the rest is rejected by name when it is cleaned."""
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _site_of(record: Mapping[str, Any], client: str) -> int:
    """As `site_of` says of the document that it becomes."""
    url = record.get("url")
    return hash_of(site_name(url if isinstance(url, str) else None, client))


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the survey of the whole corpus found, as `clean` needs it."""

    languages: frozenset[str]
    recurring: Path
    """`sites` and `lines`: two arrays, a pair for each line that its site repeats."""


def clean(part: Part, known: Known) -> int:
    """Take a part's pages through the steps of cleaning.

    Writes `kept.jsonl`, the pages that are left; `rejected.jsonl`; `places.jsonl`, a line
    [path, line, id] a page; `sketches.npy` [N, 256]; `keys.npy` [N, 42]; and `pages.npz`: `exact`,
    `ids` and `days` [N]. Returns the part's number.
    """
    if part.file("clean.json").exists():
        return part.number
    cleaner = Cleaner(
        settings=part.settings,
        languages=known.languages,
        recurring=_Recurring(known.recurring),
        counts=new_counts(),
    )
    kept = _KeptPages()
    rejected: list[Rejection] = []
    read = Count()
    for record in jsonl_records(part.name, part.content(), part.first_line):
        read.pages += 1
        found = (
            record
            if isinstance(record, Rejection)
            else page_of(record, part.client, part.settings, is_json=True)
        )
        if isinstance(found, Rejection):
            read.rejected += 1
        else:
            found = _cleaned(found, cleaner)
        if isinstance(found, Page):
            kept.add(found, cleaner.shingles)
        else:
            rejected.append(found)
    kept.write(part)
    replace_bytes(part.file("rejected.jsonl"), b"".join(map(rejection_line, rejected)))
    marker = {"kept": len(kept.days), "counts": {"read": read.fields(), **cleaner.fields()}}
    replace_bytes(part.file("clean.json"), json.dumps(marker).encode())
    return part.number


def _cleaned(page: Page, cleaner: Cleaner) -> Page | Rejection:
    material = page.material
    if isinstance(material, Chat):
        return replace(page, material=cleaner.clean_chat(material))
    found = cleaner.clean(material, language_of(material.text))
    if isinstance(found, Document):
        return replace(page, material=found)
    return page.place.reject(
        found.rule, found.reason, id=material.id, value=found.value, threshold=found.threshold
    )


class _Recurring:
    """Which lines a page's site repeats."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            sites, lines = arrays["sites"], arrays["lines"]
        self._by_site = {
            int(site): frozenset(lines[sites == site].tolist()) for site in np.unique(sites)
        }

    def __call__(self, document: Document) -> frozenset[int]:
        return self._by_site.get(hash_of(site_of(document)), frozenset())


@dataclass(slots=True)
class _KeptPages:
    """Pages of a part that were kept, as lines and as sketches."""

    lines: list[bytes] = field(default_factory=list[bytes])
    places: list[bytes] = field(default_factory=list[bytes])
    keys: list[Hashes] = field(default_factory=list[Hashes])
    sketches: list[Hashes] = field(default_factory=list[Hashes])
    exact: list[int] = field(default_factory=list[int])
    ids: list[int] = field(default_factory=list[int])
    days: list[int] = field(default_factory=list[int])

    def add(self, page: Page, shingles: Hashes | None) -> None:
        """Take a page; its shingles are made here where they are not known."""
        item = page.material
        if shingles is None:
            shingles = shingle_hashes(item.text)
        self.lines.append(material_line(item))
        place = [page.place.path, page.place.line, item.id]
        self.places.append(json.dumps(place).encode() + b"\n")
        self.keys.append(band_keys(shingles))
        self.sketches.append(bottom_sketch(shingles))
        self.exact.append(text_hash(item.text))
        self.ids.append(hash_of(item.id))
        self.days.append(
            datetime.date.fromisoformat(item.date).toordinal() if item.date else NO_DAY
        )

    def write(self, part: Part) -> None:
        count = len(self.lines)
        replace_bytes(part.file("kept.jsonl"), b"".join(self.lines))
        replace_bytes(part.file("places.jsonl"), b"".join(self.places))
        np.save(
            part.file("sketches.npy"),
            np.array(self.sketches, dtype=np.uint64).reshape(count, SKETCH),
            allow_pickle=False,
        )
        np.save(
            part.file("keys.npy"),
            np.array(self.keys, dtype=np.uint64).reshape(count, BANDS),
            allow_pickle=False,
        )
        np.savez(
            part.file("pages.npz"),
            exact=np.array(self.exact, dtype=np.uint64),
            ids=np.array(self.ids, dtype=np.uint64),
            days=np.array(self.days, dtype=np.int32),
        )


def text_hash(text: str) -> int:
    """64 bits of a text, whatever its blanks and ASCII case."""
    kernels = load_kernels()
    if kernels is None:
        return _hash(b" ".join(text.encode().lower().split()))
    return _hash(kernels.squeeze(text))
