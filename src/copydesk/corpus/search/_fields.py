"""Values of an export, taken with care: what is absent or of another kind is as if empty."""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from copydesk.corpus._words import clean_line
from copydesk.corpus.search._records import SearchQuestion, SearchResult

Json = Mapping[str, Any]
_LONGEST: Final = 5000
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")


@dataclass(slots=True)
class Flaws:
    """What a page's records lack, by place."""

    found: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """(place, rule, reason)."""

    def add(self, place: str, rule: str, reason: str) -> None:
        """Note that the record at `place` is left out."""
        self.found.append((place, rule, reason))


def text(value: object) -> str:
    """One line of plain text, without tags; empty for what is no text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    bare = html.unescape(_TAG.sub("", value[:_LONGEST])).replace("\0", "")
    return clean_line(bare.encode("utf-8", "replace").decode())


def first_text(item: Json, *names: str) -> str:
    """The first of the fields that holds a text."""
    return next((found for name in names if (found := text(item.get(name)))), "")


def at(value: object, *path: str | int) -> Any:
    """What lies at a path of names and indexes; None where there is nothing."""
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def items(value: object, place: str, flaws: Flaws) -> Iterator[tuple[str, Json]]:
    """(place, object) of each object of a list; what is no object is a flaw."""
    if value is None:
        return
    if not isinstance(value, list):
        flaws.add(place, "bad-field", f"`{place}` is not a list.")
        return
    for number, item in enumerate(value):
        here = f"{place}[{number}]"
        if isinstance(item, dict):
            yield here, item
        else:
            flaws.add(here, "not-an-object", "The record is not an object `{...}`.")


def web_address(value: object) -> str | None:
    """An address of the web; None for anything else."""
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        return None
    try:
        parts = urlsplit(value.strip())
    except ValueError:
        return None
    return value.strip() if parts.scheme in ("http", "https") and parts.netloc else None


def result(
    item: Json, place: str, rank: object, flaws: Flaws, *, url: str, title: str, snippet: str
) -> SearchResult | None:
    """A result of an export's record; None, and a flaw, where it has no address or title.

    Args:
        item: the record.
        place: where it stands.
        rank: its rank, from 1; where it is none, the record's own number is used by the caller.
        flaws: takes what is wrong.
        url: name of the field that holds the address.
        title: of the title.
        snippet: of the snippet.
    """
    address, heading = web_address(item.get(url)), text(item.get(title))
    if address is None or not heading:
        lacking = f"`{url}` with an address" if address is None else f"`{title}`"
        flaws.add(place, "no-url" if address is None else "no-title", f"It has no {lacking}.")
        return None
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 < rank < 100_000:
        flaws.add(place, "bad-rank", f"Its rank is {str(rank)[:40]!r}, not a number from 1.")
        return None
    return SearchResult(rank=rank, url=address, title=heading, snippet=text(item.get(snippet)))


def question(item: Json, place: str, flaws: Flaws, *answers: str) -> SearchQuestion | None:
    """A question of a record `{question, ..., link}`; `answers` are fields of its answer."""
    asked = text(item.get("question"))
    if not asked:
        flaws.add(place, "no-question", "It has no `question`.")
        return None
    return SearchQuestion(
        question=asked,
        answer=first_text(item, *answers),
        url=web_address(item.get("link") or item.get("url")),
    )


def texts(value: object, *names: str) -> tuple[str, ...]:
    """The texts of a list of strings, or of objects that hold them by one of `names`; each once."""
    found: dict[str, None] = {}
    for item in value if isinstance(value, list) else ():
        words = first_text(item, *names) if isinstance(item, dict) else text(item)
        if words:
            found[words] = None
    return tuple(found)


def locale(language: object, country: object) -> str | None:
    """`en-US` of `en` and `us`; one alone where the other is absent."""
    parts = [text(language).lower(), text(country).upper()]
    return "-".join(part for part in parts if part) or None
