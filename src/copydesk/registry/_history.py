"""What went live, when, by whom and why: rows that are added and never changed."""

import sqlite3
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal

from copydesk.registry._evaluations import now
from copydesk.store import Catalogue

Action = Literal["promote", "rollback", "canary", "canary-finished", "canary-stopped"]
_COLUMNS = "client, action, number, previous, share, evaluation, forced, reason, by, at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One change of what speaks for a client."""

    client: str
    action: Action
    number: int
    """The version that it is about: that went live, or of a canary the candidate."""
    previous: int | None
    """What spoke before, or beside a canary; None where that was the same version."""
    share: float | None
    """Of the requests, that a canary got."""
    evaluation: int | None
    """Id of the evaluation that it rests on; None where no gate was asked."""
    forced: bool
    """Whether it went live without passed gates."""
    reason: str
    by: str
    at: str = ""
    """When it was written: ISO time, UTC. The order of a history is that of its rows."""

    @property
    def version(self) -> str:
        """`client@n`."""
        return f"{self.client}@{self.number}"


def history(catalogue: Catalogue, client: str) -> tuple[Promotion, ...]:
    """All changes of what spoke for a client, oldest first.

    Raises:
        UnknownName: no such client.
    """
    catalogue.client(client)
    return tuple(
        _promotion(row)
        for row in catalogue.rows(
            f"SELECT {_COLUMNS} FROM promotions WHERE client = ? ORDER BY id", client
        )
    )


def log(db: sqlite3.Connection, entry: Promotion) -> Promotion:
    """Add a row, inside the caller's transaction; returns it with its time."""
    written = replace(entry, at=now())
    db.execute(
        f"INSERT INTO promotions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        astuple(written),
    )
    return written


def spoke_before(entries: tuple[Promotion, ...]) -> tuple[int, ...]:
    """The versions that a rollback goes to, the nearest last.

    Each promotion puts what spoke before it on a pile, and each rollback takes one off.
    """
    pile: list[int | None] = []
    for entry in entries:
        if entry.action in {"promote", "canary-finished"}:
            pile.append(entry.previous)
        elif entry.action == "rollback":
            while pile and pile.pop() != entry.number:
                pass
    return tuple(number for number in pile if number is not None)


def set_live(db: sqlite3.Connection, client: str, number: int) -> None:
    """Let a version speak, inside the caller's transaction."""
    db.execute("INSERT OR REPLACE INTO live VALUES (?, ?)", (client, number))


def _promotion(row: tuple[Any, ...]) -> Promotion:
    client, action, number, previous, share, evaluation, forced, reason, by, at = row
    return Promotion(
        client=client,
        action=action,
        number=number,
        previous=previous,
        share=share,
        evaluation=evaluation,
        forced=bool(forced),
        reason=reason,
        by=by,
        at=at,
    )
