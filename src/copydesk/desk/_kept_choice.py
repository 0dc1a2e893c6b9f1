"""A choice is kept while its runs are under way, so that what was cut off goes on as it was chosen.

Free memory and comparisons differ from one hour to the next; a run that goes on must be the same.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from copydesk.desk._place import Place
from copydesk.errors import Damaged
from copydesk.records import Choice, Reason
from copydesk.store import json_bytes, read_json, replace_bytes

_FILE = "choice.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A choice, and the digest of what was asked for, by which it is found again."""

    choice: Choice
    key: str


def keep_choice(place: Place, clients: Iterable[str], chosen: Chosen) -> None:
    """Keep it beside each client's runs."""
    for client in clients:
        replace_bytes(_path(place, client), json_bytes(asdict(chosen)))


def kept_choice(place: Place, clients: Iterable[str], key: str) -> Choice | None:
    """The choice that runs under way were begun with, when the same was asked for."""
    for client in clients:
        path = _path(place, client)
        if not path.is_file():
            continue
        try:
            raw = read_json(path)
            if raw["key"] == key:
                return _choice(raw["choice"])
        except (Damaged, KeyError, TypeError):  # then the choice is made again
            continue
    return None


def forget_choice(place: Place, clients: Iterable[str]) -> None:
    """Their runs have ended."""
    for client in clients:
        _path(place, client).unlink(missing_ok=True)


def _path(place: Place, client: str) -> Path:
    return place.runs_folder(client) / _FILE


def _choice(raw: dict[str, Any]) -> Choice:
    fields: dict[str, Any] = {
        **raw,
        "reasons": tuple(Reason(**reason) for reason in raw["reasons"]),
        "would_change": tuple(raw["would_change"]),
    }
    return Choice(**fields)
