"""How long a check takes with a whole agency indexed, and what memory a batch needs.

    python benchmarks/check_speed.py

One draft of 1,500 words against 300 pages of its client's, 49 other clients x 300 pages and 300
search results, all families, after one check to warm up: median of 20, in processor time of the one
core, so that what else the machine does is not counted. Then 1,000 drafts streamed through
`check_batch`, with the memory of the process after 100 and 1,000. Pages and drafts are drawn words.
There is no rival that checks as much; in its place stands the target of 300 ms.
"""

import random
import statistics
import time
from collections.abc import Iterator

import psutil
from _case import emit, versions

from copydesk.content import (
    Page,
    ShingleIndex,
    Standards,
    TrainingIndex,
    check,
    check_batch,
    make_brief,
)
from copydesk.records import StyleGuide

CLIENTS, PAGES, PAGE_WORDS, DRAFT_WORDS, DRAFTS = 50, 300, 500, 1500, 1000
KEY = b"a key of thirty-two bytes, fixed"
TARGET_MS = 300


def words(rng: random.Random, count: int) -> str:
    """Sentences of words whose frequencies fall as in prose (Zipf)."""
    drawn = rng.choices(VOCABULARY, weights=WEIGHTS, k=count)
    sentences = [" ".join(drawn[at : at + 14]).capitalize() for at in range(0, count, 14)]
    paragraphs = [". ".join(sentences[at : at + 5]) + "." for at in range(0, len(sentences), 5)]
    return "\n\n".join(
        f"## Part\n\n{text}" if n % 4 == 0 else text for n, text in enumerate(paragraphs)
    )


VOCABULARY = [f"{a}{b}{c}" for a in "bcdfglmnprst" for b in ("a", "ea", "o", "i") for c in
              ("", "n", "r", "ted", "ning", "lly", "s", "m", "t", "ble", "st", "nd")]  # fmt: skip
WEIGHTS = [1 / (rank + 1) for rank in range(len(VOCABULARY))]


def drafts(rng: random.Random, count: int) -> Iterator[Page]:
    brief = make_brief(title="Planting garlic", keyword="planting garlic", points=["Plant it"])
    for number in range(count):
        text = words(rng, DRAFT_WORDS)
        yield Page(text=text, title="Planting garlic", brief=brief, label=f"draft {number}")


def main() -> None:
    rng = random.Random(0)
    guide = StyleGuide(
        banned=tuple(f"banned{n}" for n in range(20)),
        prefer={f"old{n}": f"new{n}" for n in range(20)},
    )
    own = TrainingIndex.build((f"p{n}", words(rng, PAGE_WORDS)) for n in range(PAGES))
    others = ShingleIndex.merged(
        [
            ShingleIndex.build(
                (words(rng, PAGE_WORDS) for _ in range(PAGES)), kind="client", key=KEY
            )
            for _ in range(CLIENTS - 1)
        ]
    )
    searched = ShingleIndex.build(
        (words(rng, PAGE_WORDS) for _ in range(PAGES)), kind="searched", key=KEY
    )
    standards = Standards(guide=guide, index=own, others=[others, searched])
    page = next(drafts(rng, 1))
    took: list[float] = []
    for _ in range(21):
        started = time.process_time()
        check(page.text, title=page.title, brief=page.brief, standards=standards)
        took.append(1000 * (time.process_time() - started))
    process, resident = psutil.Process(), dict[int, int]()
    started = time.process_time()
    for number, _ in enumerate(check_batch(drafts(rng, DRAFTS), standards), start=1):
        if number in (100, DRAFTS):
            resident[number] = process.memory_info().rss
    median = statistics.median(took[1:])
    emit(
        {
            "benchmark": "check-speed",
            "versions": versions("copydesk", "numpy"),
            "clients": CLIENTS,
            "pages_each": PAGES,
            "shingles": len(others.hashes),
            "ours": {
                "milliseconds": round(median, 1),
                "slowest_milliseconds": round(max(took[1:]), 1),
                "batch_drafts": DRAFTS,
                "batch_seconds": round(time.process_time() - started, 1),
                "memory_growth_bytes": resident[DRAFTS] - resident[100],
            },
            "rival": {"name": "target", "milliseconds": TARGET_MS},
            "ratio": round(TARGET_MS / median, 2),
        }
    )


if __name__ == "__main__":
    main()
