"""Promote a version that earned it, and go back.

Every change is one transaction: the gates are looked at, the pointer moves and the history is
written together, or nothing is. Other processes wait for it.
"""

from dataclasses import dataclass

from copydesk.errors import AlreadyThere, InUse, InvalidInput, NotPassed, UnknownName
from copydesk.registry._canary import (
    Canary,
    CanaryRules,
    end_canary,
    running_canary,
    start_canary,
)
from copydesk.registry._evaluations import newest_evaluation
from copydesk.registry._history import Promotion, history, log, set_live, spoke_before
from copydesk.registry._live import live_number, promoted_number
from copydesk.registry._versions import Version, version_entry
from copydesk.store import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """What an evaluation must have been made by to count."""

    thresholds: str
    """Digest of the gates' settings."""
    base: str
    """Digest of the workspace's base."""


def promote(
    catalogue: Catalogue,
    version: Version,
    standard: Standard,
    *,
    by: str,
    force_reason: str | None = None,
    canary: CanaryRules | None = None,
) -> Promotion:
    """Let a version speak for its client, or try it on a share of the requests.

    Promoting the candidate of a running canary ends the canary early, by the gates that it began
    with.

    Args:
        catalogue: the workspace's.
        version: that is to speak.
        standard: what its evaluation must have been made by.
        by: who does it, for the history.
        force_reason: why the gates are passed over, for the history; None asks them.
        canary: try it as a canary by these rules.

    Raises:
        NotPassed: its gates said no, were never asked, or were asked of something else.
        AlreadyThere: it speaks already.
        InUse: the canary of another version is running.
        InvalidInput: the reason is empty.
        UnknownName: the version is gone.
    """
    if force_reason is not None and not force_reason.strip():
        raise InvalidInput("A forced promotion needs a reason", todo="Say why with --reason.")
    client = version.client
    with catalogue.writing() as db:
        entry = version_entry(catalogue, client, version.number)
        if entry is None or entry.digest != version.digest:
            raise UnknownName(f"{version.name} is not in the catalogue any more")
        running = running_canary(catalogue, client)
        _refuse_twice(catalogue, version, running, canary)
        spoke = live_number(catalogue, client)
        if running is None:
            evaluation = None
            if force_reason is None:
                evaluation = _passed(catalogue, version, standard)
            begun = Promotion(
                client=client,
                action="promote" if canary is None else "canary",
                number=version.number,
                previous=None if spoke == version.number else spoke,
                share=canary.share if canary else None,
                evaluation=evaluation,
                forced=force_reason is not None,
                reason=(force_reason or "").strip(),
                by=by,
            )
            if canary is not None:
                return start_canary(db, begun, canary)
            set_live(db, client, version.number)
            return log(db, begun)
        said = (force_reason or "").strip() or "ended by hand"
        return end_canary(catalogue, db, running, finished=True, reason=said, by=by)


def rollback(
    catalogue: Catalogue, client: str, *, by: str, reason: str = "", expected: int | None = None
) -> Promotion:
    """Stop the client's canary; where none runs, let the version speak that spoke before.

    Args:
        catalogue: the workspace's.
        client: whose version it is.
        by: who does it, for the history.
        reason: why, for the history.
        expected: number of the version that is to stop speaking, so that two who go back at once
            do not go back twice.

    Raises:
        UnknownName: no such client.
        InvalidInput: nothing spoke before.
        InUse: another process was quicker.
    """
    with catalogue.writing() as db:
        entries = history(catalogue, client)
        running = running_canary(catalogue, client)
        if running is not None:
            said = reason or "stopped by hand"
            return end_canary(catalogue, db, running, finished=False, reason=said, by=by)
        live = promoted_number(catalogue, client)
        if expected is not None and live != expected:
            raise InUse(
                f"{client}@{expected} does not speak any more: another process was quicker",
                todo=f"See copydesk history {client}.",
            )
        pile = [n for n in spoke_before(entries) if version_entry(catalogue, client, n)]
        while pile and pile[-1] == live:  # what lay between them is gone
            pile.pop()
        if live is None or not pile:
            raise InvalidInput(
                f"There is nothing to go back to: {client} has promoted "
                + ("no version" if live is None else f"nothing before {client}@{live}"),
                todo=f"Promote another version: copydesk promote {client}@NUMBER",
            )
        set_live(db, client, pile[-1])
        return log(
            db,
            Promotion(
                client=client,
                action="rollback",
                number=pile[-1],
                previous=live,
                share=None,
                evaluation=None,
                forced=False,
                reason=reason,
                by=by,
            ),
        )


def _refuse_twice(
    catalogue: Catalogue, version: Version, running: Canary | None, canary: CanaryRules | None
) -> None:
    client = version.client
    if running is not None and (running.number != version.number or canary is not None):
        raise InUse(
            f"The canary of {client}@{running.number} is running",
            todo=f"End it first: copydesk promote {client}@{running.number}, or copydesk rollback "
            f"{client}",
        )
    if running is not None:
        return
    speaks = live_number(catalogue, client) == version.number
    if speaks and (canary is not None or promoted_number(catalogue, client) is not None):
        raise AlreadyThere(f"{version.name} speaks for {client} already")


def _passed(catalogue: Catalogue, version: Version, standard: Standard) -> int:
    """Id of the evaluation that lets the version speak.

    Raises:
        NotPassed: there is none that does; says why.
    """
    found = newest_evaluation(catalogue, version.client, version.number)
    again = f"Ask them with: copydesk eval {version.name}"
    if found is None:
        raise NotPassed(f"The gates were never asked about {version.name}", todo=again)
    if not found.passed:
        failed = ", ".join(gate.name for gate in found.gates if not gate.passed) or "all"
        raise NotPassed(
            f"{version.name} did not pass its gates: {failed}",
            todo=f"Train it otherwise, or see copydesk eval {version.name}. "
            "--force --reason TEXT promotes it all the same, and is recorded.",
        )
    against = promoted_number(catalogue, version.client)
    reasons = {
        "its weights": found.digest != version.digest,
        "the thresholds": found.thresholds != standard.thresholds,
        "the base": found.base != standard.base,
        "the live version": found.against != against,
    }
    changed = [name for name, has in reasons.items() if has]
    if changed:
        raise NotPassed(
            f"The gates passed {version.name} before {' and '.join(changed)} changed", todo=again
        )
    return found.id
