"""Near-duplicates: precision and recall on planted copies, and whether any crosses the split.

Planted are light rewrites (one word in 30 changed, a sentence moved), pages of one template that
differ by a town's name and a few facts, and copies under another menu and footer. Beside them stand
pages that must be told apart: by one author on one subject, sharing a paragraph or two.
"""

import itertools
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from _case import emit, versions
from _synthetic import paragraphs, rewritten

from copydesk.corpus import CurateSettings, clean_corpus, curate, each_material, shingles

GROUPS = 120
SITES = 12


def corpus(seed: int) -> list[dict[str, Any]]:
    """Records; `story` is the group that a page belongs to, of its own for a distinct one."""
    pool = paragraphs()
    draw = random.Random(seed)
    records: list[dict[str, Any]] = []

    def add(story: str, kind: str, blocks: list[str]) -> None:
        number = len(records)
        site = draw.randrange(SITES)
        menu = f"Home | Journal {site} | About the people of site {site} | Contact"
        footer = f"You read site {site}. Subscribe to our letter and never miss a story."
        records.append(
            {
                "id": f"{story}.{kind}.{number}",
                "title": f"Page {number}",
                "text": "\n\n".join([menu, *blocks, footer]),
                "date": f"20{10 + number % 14}-{1 + number % 12:02}-{1 + number % 28:02}",
                "url": f"https://site{site}.example/{number}",
            }
        )

    for group in range(GROUPS):
        blocks = [pool[draw.randrange(len(pool))] for _ in range(draw.randrange(4, 12))]
        add(f"s{group}", "page", blocks)
        kind = group % 4
        if kind == 0:
            add(f"s{group}", "paraphrase", _paraphrased(blocks, draw))
        elif kind == 1:
            for town in ("Ashby", "Bramhall"):
                add(f"s{group}", "template", _in_town(blocks, town, draw))
        elif kind == 2:
            add(f"s{group}", "boilerplate", blocks)
        else:  # a different story by the same hand: a third of it is shared
            fresh = [pool[draw.randrange(len(pool))] for _ in blocks]
            shared = max(1, len(blocks) // 4)
            add(f"d{group}", "page", [*blocks[:shared], *fresh[shared:]])
    return records


def _paraphrased(blocks: list[str], draw: random.Random) -> list[str]:
    changed = [rewritten(block, draw, 1 / 30) for block in blocks]
    at = draw.randrange(len(changed) - 1)
    changed[at], changed[at + 1] = changed[at + 1], changed[at]
    return changed


def _in_town(blocks: list[str], town: str, draw: random.Random) -> list[str]:
    """A town's name once a paragraph, and one paragraph in eight of its own facts."""
    made: list[str] = []
    for number, block in enumerate(blocks):
        words = block.split(" ")
        words[draw.randrange(len(words))] = town
        made.append(" ".join(words))
        if number % 8 == 7:
            made.append(f"In {town} we are open from {draw.randrange(6, 11)} on all days.")
    return made


def scored(records: list[dict[str, Any]], rejected: set[str], train: set[str], held: set[str]):
    """Precision and recall over pages: all but one page of a story should be rejected."""
    stories: dict[str, list[str]] = {}
    for record in records:
        stories.setdefault(record["id"].split(".")[0], []).append(record["id"])
    planted = sum(len(pages) - 1 for pages in stories.values())
    right = sum(min(len(pages) - 1, len(rejected & set(pages))) for pages in stories.values())
    crossing = sum(
        bool(train & set(pages)) and bool(held & set(pages)) for pages in stories.values()
    )
    return {
        "planted": planted,
        "rejected": len(rejected),
        "precision": round(right / max(1, len(rejected)), 4),
        "recall": round(right / planted, 4),
        "stories_across_the_split": crossing,
    }


def main() -> None:
    """Print the line."""
    records = corpus(seed=0)
    settings = CurateSettings()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        file = root / "pages.jsonl"
        file.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        started = time.perf_counter()
        exactly = curate([file], client="planted", settings=settings)
        seconds = time.perf_counter() - started
        (root / "out").mkdir()
        clean_corpus([file], root / "out", client="planted", work=root / "work", settings=settings)
        sketched = [
            list(each_material(root / "out" / f"{side}.jsonl")) for side in ("train", "heldout")
        ]
    ids = {one["id"] for one in records}
    found = {}
    for name, sides in (("curate", (exactly.train, exactly.heldout)), ("clean_corpus", sketched)):
        train, held = ({item.id for item in side} for side in sides)
        found[name] = scored(records, ids - train - held, train, held)
        pairs = itertools.product(*([shingles(item.text) for item in side] for side in sides))
        found[name]["highest_likeness_across"] = round(
            max(len(a & b) / len(a | b) for a, b in pairs), 3
        )
    emit(
        {
            "benchmark": "near-duplicates",
            "versions": versions("datasketch", "numpy"),
            "pages": len(records),
            "near_duplicate": settings.near_duplicate,
            "ours": found["curate"],
            "at_scale": found["clean_corpus"],
            "seconds": round(seconds, 2),
        }
    )


if __name__ == "__main__":
    main()
