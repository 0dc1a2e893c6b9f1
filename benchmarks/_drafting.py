"""Drafts for the voice benchmarks: briefs from real pages, and texts that are kept as they come.

A file of drafts is JSONL, a line a draft, named by what wrote it; a run that was cut off writes
what is missing.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _case import BRANDS

from copydesk.corpus import brief_text, document_brief
from copydesk.records import Brief, Document, Message, Sampling
from copydesk.store import default_cache, json_digest

NAMES = {
    "18f": ("18F",),
    "a11y-project": ("The A11Y Project", "A11Y"),
    "based-cooking": ("Based Cooking",),
    "bitcoin-optech": ("Bitcoin Optech", "Optech"),
    "carpentries": ("The Carpentries", "Software Carpentry", "Data Carpentry", "Library Carpentry"),
    "go": ("Go", "Golang"),
    "lets-encrypt": ("Let's Encrypt", "ISRG"),
    "mastodon": ("Mastodon",),
    "rust": ("Rust",),
    "standard-ebooks": ("Standard Ebooks",),
    "va-gov": ("VA", "VA.gov", "Veterans Affairs"),
}
SAMPLING = Sampling(max_new_tokens=320, temperature=0.7, top_p=0.9, repetition_penalty=1.1, seed=1)
"""As `copydesk write` draws, for about 240 words."""
LENGTH = 220
"""Words that a brief asks for, whatever the page had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """A brand's pages, oldest first; the newest fifth is held out."""

    name: str
    train: tuple[Document, ...]
    heldout: tuple[Document, ...]


def read_brand(name: str) -> Brand:
    lines = (BRANDS / name / "posts.jsonl").read_text(encoding="utf-8").splitlines()
    posts = [json.loads(line) for line in lines]
    pages = tuple(
        Document(
            id=post["id"],
            client=name,
            title=post["title"],
            text=post["body_markdown"],
            format=post["format"],
            date=post["date"],
            source=name,
            sha256="",
        )
        for post in posts
    )
    kept = len(pages) - len(pages) // 5
    return Brand(name=name, train=pages[:kept], heldout=pages[kept:])


def read_brands(names: Sequence[str]) -> dict[str, Brand]:
    """The named brands, or all of them."""
    if not BRANDS.is_dir():
        sys.exit("This benchmark needs the real brands' texts in ../shared/brands.")
    return {name: read_brand(name) for name in names or sorted(NAMES)}


def spread(pages: Sequence[Document], count: int) -> list[Document]:
    """So many pages at even distances, all where there are no more."""
    if len(pages) <= count:
        return list(pages)
    return [pages[at * len(pages) // count] for at in range(count)]


def brief_of(page: Document) -> Brief:
    """The brief that a page might have been written from, at one length for all."""
    found = document_brief(page)
    return Brief(
        title=found.title,
        format=found.format,
        keyword=found.keyword,
        points=found.points,
        length=LENGTH,
    )


def asked(page: Document) -> tuple[Message, ...]:
    """The page's brief as the chat that adapters are trained on."""
    return (Message(role="user", content=brief_text(brief_of(page))),)


def drafts_folder() -> Path:
    """Where drafts are kept between runs."""
    return default_cache() / "benchmarks" / "drafts"


def drafts_file(writer: str, digest: str, brand: str, sampling: Sampling = SAMPLING) -> str:
    """The name of a file of drafts: who wrote it, from what weights, drawn how, for whom."""
    how = json_digest({**asdict(sampling), "words": LENGTH})
    return f"{writer}-{digest[:12]}-{how[:8]}-{brand}.jsonl"


def written(
    file: Path,
    pages: Sequence[Document],
    write: Callable[[list[Document]], Sequence[str]],
    *,
    rows: int = 16,
) -> dict[str, str]:
    """Page's id -> draft, kept in `file`; `write` is asked for those that are missing.

    It is asked for `rows` at a time, so that what was written is there when the run is cut off.
    """
    found: dict[str, str] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            record: dict[str, Any] = json.loads(line)
            found[record["id"]] = record["text"]
    missing = [page for page in pages if page.id not in found]
    file.parent.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(missing), rows):
        batch = missing[start : start + rows]
        texts = write(batch)
        with file.open("a", encoding="utf-8") as lines:
            for page, text in zip(batch, texts, strict=True):
                found[page.id] = text
                lines.write(json.dumps({"id": page.id, "text": text}) + "\n")
        print(f"{file.name}: {len(found)} drafts", file=sys.stderr, flush=True)
    return {page.id: found[page.id] for page in pages}
