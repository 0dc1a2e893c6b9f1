"""A candidate on trial: a share of a client's requests, until it is proved worse or has lasted."""

import math
import sqlite3
from dataclasses import dataclass

from copydesk.errors import InvalidInput, UnknownName
from copydesk.registry._bound import evidence
from copydesk.registry._history import Promotion, log, set_live
from copydesk.registry._versions import version_entry
from copydesk.store import Catalogue

_AUTOMATIC = "copydesk"
"""Who ends a canary that nobody ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRules:
    """How a canary runs and ends."""

    share: float
    """Of the client's requests, in (0, 1)."""
    requests: int = 200
    """Of the candidate's, after which it speaks for all."""
    ratio: float = 1.5
    """How many times as often as the live version it may go wrong."""
    alpha: float = 0.01
    """Probability of stopping one that goes wrong no more often than that."""

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, fine in {
                "share": 0 < self.share < 1,
                "requests": self.requests >= 1,
                "ratio": 1 <= self.ratio < math.inf,
                "alpha": 0 < self.alpha < 1,
            }.items()
            if not fine
        ]
        if wrong:
            raise InvalidInput(
                f"A canary cannot run with {wrong[0]} {getattr(self, wrong[0])}",
                todo="share lies between 0 and 1, requests from 1, ratio from 1, alpha in (0, 1).",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """How a version's requests ended."""

    requests: int
    findings: int
    """Requests whose text had a finding that is an error."""
    errors: int
    """Requests that gave no text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A canary that is running."""

    id: int
    client: str
    number: int
    """The candidate."""
    previous: int
    """What speaks to the others."""
    rules: CanaryRules
    candidate: Outcomes
    live: Outcomes


def running_canary(catalogue: Catalogue, client: str) -> Canary | None:
    """The client's canary with what it has shown so far; None where none runs."""
    rows = catalogue.rows(
        "SELECT id, number, previous, share, requests, ratio, alpha FROM canaries WHERE client = ?",
        client,
    )
    if not rows:
        return None
    canary, number, previous, share, requests, ratio, alpha = rows[0]
    return Canary(
        id=canary,
        client=client,
        number=number,
        previous=previous,
        rules=CanaryRules(share=share, requests=requests, ratio=ratio, alpha=alpha),
        candidate=outcomes(catalogue, client, number, canary=canary),
        live=outcomes(catalogue, client, previous, canary=canary),
    )


def outcomes(
    catalogue: Catalogue, client: str, number: int, *, canary: int | None = None
) -> Outcomes:
    """How a version's requests ended: those of one canary, or all."""
    which = "" if canary is None else " AND canary = ?"
    values = (client, number) if canary is None else (client, number, canary)
    rows = catalogue.rows(
        "SELECT coalesce(sum(requests), 0), coalesce(sum(findings), 0), coalesce(sum(errors), 0)"
        f" FROM outcomes WHERE client = ? AND number = ?{which}",
        *values,
    )
    requests, findings, errors = rows[0]
    return Outcomes(requests=requests, findings=findings, errors=errors)


def report_outcome(
    catalogue: Catalogue,
    client: str,
    number: int,
    *,
    findings: bool,
    error: bool,
    drawn_by: int | None = None,
) -> Promotion | None:
    """Count how a request ended that `version_for` gave a version of the client.

    A running canary is judged by it: the candidate is stopped as soon as it is proved to go wrong
    more often than its rules allow, by errors or by findings, and speaks for all once it has
    answered enough. Requests for `client@n` were not drawn by chance and are not to be reported.

    Args:
        catalogue: the workspace's.
        client: who asked.
        number: the version that answered.
        findings: whether the text had a finding that is an error.
        error: whether there was no text.
        drawn_by: id of the canary that ran when the version was drawn, 0 where none did: one that
            began since is not judged by it. None is the canary that runs now.

    Returns:
        What followed for the canary; None where it goes on, or none runs.

    Raises:
        UnknownName: no such version.
    """
    with catalogue.writing() as db:
        if version_entry(catalogue, client, number) is None:
            raise UnknownName(f"There is no version '{client}@{number}'")
        canary = running_canary(catalogue, client)
        within = (
            canary is not None
            and number in (canary.number, canary.previous)
            and drawn_by in (None, canary.id)
        )
        db.execute(
            "INSERT INTO outcomes VALUES (?, ?, ?, 1, ?, ?)"
            " ON CONFLICT (client, number, canary) DO UPDATE SET requests = requests + 1,"
            " findings = findings + excluded.findings, errors = errors + excluded.errors",
            (client, number, canary.id if canary and within else 0, int(findings), int(error)),
        )
        canary = running_canary(catalogue, client) if within else None
        if canary is None:
            return None
        if worse := proved_worse(canary):
            return end_canary(catalogue, db, canary, finished=False, reason=worse, by=_AUTOMATIC)
        if canary.candidate.requests < canary.rules.requests:
            return None
        lasted = f"answered {canary.candidate.requests} requests: {_figures(canary)}"
        return end_canary(catalogue, db, canary, finished=True, reason=lasted, by=_AUTOMATIC)


def proved_worse(canary: Canary) -> str:
    """Why the candidate is worse than its rules allow; empty where that is not proved.

    Errors and findings are two questions, each asked at half of alpha.
    """
    rules, limit = canary.rules, math.log(2 / canary.rules.alpha)
    for kind in ("errors", "findings"):
        found = evidence(
            getattr(canary.candidate, kind),
            getattr(canary.live, kind),
            share=rules.share,
            ratio=rules.ratio,
        )
        if found >= limit:
            return f"more {kind} than {rules.ratio:g} times the live version's: {_figures(canary)}"
    return ""


def start_canary(db: sqlite3.Connection, begun: Promotion, rules: CanaryRules) -> Promotion:
    """Begin, inside the caller's transaction. What speaks now is kept from being replaced by a
    newer version, also where it was never promoted."""
    assert begun.previous is not None
    set_live(db, begun.client, begun.previous)
    db.execute(
        "INSERT INTO canaries (client, number, previous, share, requests, ratio, alpha)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            begun.client,
            begun.number,
            begun.previous,
            rules.share,
            rules.requests,
            rules.ratio,
            rules.alpha,
        ),
    )
    return log(db, begun)


def end_canary(
    catalogue: Catalogue,
    db: sqlite3.Connection,
    canary: Canary,
    *,
    finished: bool,
    reason: str,
    by: str,
) -> Promotion:
    """End a canary inside the caller's transaction: its candidate speaks for all, or no more."""
    db.execute("DELETE FROM canaries WHERE id = ?", (canary.id,))
    if finished:
        set_live(db, canary.client, canary.number)
    began = catalogue.rows(
        "SELECT evaluation, forced FROM promotions"
        " WHERE client = ? AND number = ? AND action = 'canary' ORDER BY id DESC LIMIT 1",
        canary.client,
        canary.number,
    )
    evaluation, forced = began[0] if began else (None, 0)
    return log(
        db,
        Promotion(
            client=canary.client,
            action="canary-finished" if finished else "canary-stopped",
            number=canary.number,
            previous=canary.previous,
            share=canary.rules.share,
            evaluation=evaluation,
            forced=bool(forced),
            reason=reason,
            by=by,
        ),
    )


def _figures(canary: Canary) -> str:
    def said(name: str, found: Outcomes) -> str:
        return f"{name} {found.findings} findings and {found.errors} errors in {found.requests}"

    return f"{said('candidate', canary.candidate)}, {said('live', canary.live)}"
