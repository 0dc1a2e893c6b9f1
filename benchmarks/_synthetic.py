"""A corpus of any size, made deterministically from real paragraphs and never all in memory.

Each page is a few dozen paragraphs drawn from the brands' posts, with its site's menu and footer.
Some are planted: copies, light rewrites, machine noise, and pages in another language.
"""

import datetime
import json
import random
from collections.abc import Iterator
from pathlib import Path

from _case import BRANDS, SAMPLES

SITES = 40
_PLANTED = ("copy", "rewrite", "noise")
_EVERY = 20
"""Of twenty pages in a row one is a copy, one a rewrite and one noise."""


def paragraphs() -> list[str]:
    """Paragraphs of prose of all real brands, or of the samples where those are absent."""
    files = sorted(BRANDS.glob("*/posts.jsonl")) or sorted(SAMPLES.glob("*/posts.jsonl"))
    found: dict[str, None] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            post = json.loads(line)
            text = post.get("body_markdown") or post.get("text") or post.get("body") or ""
            for block in text.split("\n\n"):
                if 200 <= len(block) <= 1200 and block[0].isalpha():
                    found[block.strip()] = None
    return list(found)


def pages(count: int, *, size: int, seed: int) -> Iterator[tuple[dict[str, str], str]]:
    """(record, what it is) of each page; `size` is the length of a page's text in characters."""
    pool = paragraphs()
    for number in range(count):
        kind = dict(zip((7, 13, 17), _PLANTED, strict=True)).get(number % _EVERY, "page")
        origin = number - number % _EVERY if kind in ("copy", "rewrite") else number
        draw = random.Random(f"{seed}:{origin}")
        text = _noise(draw, size) if kind == "noise" else _text(pool, draw, size)
        if kind == "rewrite":
            text = rewritten(text, random.Random(f"{seed}:{number}:rewrite"), 1 / 30)
        site = number % SITES
        menu = f"Home and news of site {site} | Products | About our people | Contact"
        footer = f"Site {site} uses cookies to measure visits. All rights reserved."
        day = datetime.date(2015, 1, 1) + datetime.timedelta(days=number * 3650 // count)
        yield (
            {
                "id": f"page-{number:07}",
                "title": f"Page {number} of site {site}",
                "text": f"{menu}\n\n{text}\n\n{footer}",
                "date": day.isoformat(),
                "format": "blog",
                "url": f"https://site{site}.example/{number}",
                "right": "licence:CC0-1.0",
            },
            kind,
        )


def write(path: Path, count: int, *, size: int = 20_000, seed: int = 0) -> int:
    """Write the pages as JSON lines; returns the bytes."""
    with path.open("w", encoding="utf-8") as file:
        for record, _ in pages(count, size=size, seed=seed):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path.stat().st_size


def rewritten(text: str, draw: random.Random, share: float) -> str:
    """The text with this share of its words replaced by others of it."""
    words = text.split(" ")
    for _ in range(round(share * len(words))):
        words[draw.randrange(len(words))] = words[draw.randrange(len(words))]
    return " ".join(words)


def _text(pool: list[str], draw: random.Random, size: int) -> str:
    blocks: list[str] = []
    length = 0
    while length < size:
        blocks.append(pool[draw.randrange(len(pool))])
        length += len(blocks[-1]) + 2
    return "\n\n".join(blocks)


def _noise(draw: random.Random, size: int) -> str:
    """What a broken export looks like: one block again and again."""
    row = " ".join(f"cell{draw.randrange(100)}" for _ in range(12))
    return "\n".join([row] * (size // len(row)))
