"""A dataset's card: what is in it, where from, by what right, and what was left out."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from markdown_it import MarkdownIt

from copydesk.corpus._briefs import document_brief
from copydesk.corpus._intent import length_band
from copydesk.corpus._words import clean_line, word_count
from copydesk.records import Document, FunnelStep, Material, Rejection

_SAMPLES: Final = 3
_SAMPLE_CHARACTERS: Final = 300
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ border-bottom: 1px solid #ccc; padding: .2rem .8rem .2rem 0; text-align: left }}
blockquote {{ border-left: 3px solid #ccc; margin-left: 0; padding-left: 1rem }}
</style>
<main>
{body}</main>
</html>
"""


@dataclass(slots=True)
class _Tally:
    """What is counted of one side of the split."""

    count: int = 0
    words: int = 0
    days: list[str] = field(default_factory=list[str])
    """The oldest and the newest, where there are dated ones."""
    formats: Counter[str] = field(default_factory=Counter[str])
    intents: Counter[str] = field(default_factory=Counter[str])
    bands: Counter[str] = field(default_factory=Counter[str])
    rights: Counter[str] = field(default_factory=Counter[str])
    sites: Counter[str] = field(default_factory=Counter[str])

    def add(self, item: Material) -> None:
        words = word_count(item.text)
        self.count += 1
        self.words += words
        self.bands[length_band(words)] += 1
        if item.date:
            days = sorted([*self.days, item.date])
            self.days = [days[0], days[-1]]
        if isinstance(item, Document):
            self.formats[item.format] += 1
            self.rights[item.right or "not recorded: the client's own models only"] += 1
            if item.title:
                self.intents[document_brief(item).intent or "unknown"] += 1
        else:
            self.formats[item.form] += 1


def dataset_card(
    client: str,
    *,
    train: Iterable[Material],
    heldout: Iterable[Material],
    rejected: Iterable[Rejection],
    funnel: Sequence[FunnelStep],
    split: str,
) -> tuple[str, str]:
    """The card as Markdown and as a page of HTML that needs nothing else.

    The same dataset gives the same card: it names no time of its making and no machine.

    Args:
        client: whose pages they are.
        train, heldout, rejected: read once each, one after another.
        funnel: of the cleaning.
        split: `time` or `seed`.
    """
    sides = (_Tally(), _Tally())
    samples: list[tuple[bytes, str]] = []
    for tally, items in zip(sides, (train, heldout), strict=True):
        for item in items:
            tally.add(item)
            if tally is sides[0]:
                key = hashlib.sha256(item.id.encode()).digest()
                samples = sorted([*samples, (key, _sample(item))])[:_SAMPLES]
    rules = Counter(rejection.rule for rejection in rejected)
    text = _markdown(client, sides, rules, funnel, split, [sample for _, sample in samples])
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    title = f"Dataset of {client}"
    return text, _PAGE.format(title=title, body=body)


def _markdown(
    client: str,
    sides: tuple[_Tally, _Tally],
    rules: Mapping[str, int],
    funnel: Sequence[FunnelStep],
    split: str,
    samples: Sequence[str],
) -> str:
    train, heldout = sides
    how = "the newest pages" if split == "time" else "pages drawn by the seed"
    steps = [
        (one.step, one.pages, one.rejected, one.changed, one.flagged, one.pages - one.rejected)
        for one in funnel
    ]
    duplicates = sum(rules.get(r, 0) for r in ("exact-duplicate", "near-duplicate", "duplicate-id"))
    blocks = [
        f"# Dataset of {client}",
        f"{train.count + heldout.count} pages and chats: {train.count} to train on "
        f"({train.words} words), {heldout.count} held out ({heldout.words} words). "
        f"Held out are {how}; none of them is a near-duplicate of one that is trained on.",
        "## Cleaning",
        _table(("step", "pages in", "rejected", "changed", "flagged", "pages out"), steps),
        "## What was rejected",
        _table(("rule", "pages"), sorted(rules.items(), key=_most_first)) if rules else "Nothing.",
        f"Duplicates among them: {duplicates}.",
        "## Rights to train",
        _sides_table("right", [side.rights for side in sides]),
        "## Time",
        _table(
            ("side", "oldest", "newest"),
            [
                (name, *(side.days or ("undated", "undated")))
                for name, side in zip(("trained on", "held out"), sides, strict=True)
            ],
        ),
        "## Formats",
        _sides_table("format", [side.formats for side in sides]),
        "## Length",
        "Short is below 300 words, long from 900.",
        _sides_table("band", [side.bands for side in sides]),
        "## Intent",
        _sides_table("intent", [side.intents for side in sides]),
        "## Samples",
        *samples,
    ]
    return "\n\n".join(blocks) + "\n"


def _most_first(pair: tuple[str, int]) -> tuple[int, str]:
    return -pair[1], pair[0]


def _sides_table(name: str, counts: Sequence[Mapping[str, int]]) -> str:
    total = Counter(counts[0]) + Counter(counts[1])
    rows = [
        (key, counts[0].get(key, 0), counts[1].get(key, 0))
        for key, _ in sorted(total.items(), key=_most_first)
    ]
    return _table((name, "trained on", "held out"), rows) if rows else "None."


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    return clean_line(str(value)).replace("|", "\\|")


def _sample(item: Material) -> str:
    title = item.title if isinstance(item, Document) else item.id
    start = clean_line(item.text)[:_SAMPLE_CHARACTERS]
    return f"> **{_plain(title or item.id)}**\n>\n> {_plain(start)} ..."


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|&!" else c for c in clean_line(text))
