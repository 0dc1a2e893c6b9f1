"""`promote`, `rollback` and `history`: what speaks for a client, and what did."""

import contextlib
import getpass
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from copydesk.desk._config import Config
from copydesk.desk._place import FOUNDATIONS, Place
from copydesk.desk._withdrawing import Mark, all_marks, learned_withdrawn
from copydesk.errors import CopydeskError, Damaged, NotPassed
from copydesk.registry import (
    Canary,
    CanaryRules,
    Evaluation,
    Outcomes,
    Promotion,
    Standard,
    Version,
    find_version,
    history,
    live_version,
    newest_evaluation,
    outcomes,
    promote,
    promoted_number,
    report_outcome,
    rollback,
    running_canary,
    version_for,
    versions,
)
from copydesk.store import open_artifact

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionState:
    """A version as a history shows it."""

    version: str
    made: str
    method: str
    base: str
    """Name of the base that it is bound to."""
    stale: bool
    """Whether that is another than the workspace's."""
    live: bool
    gates: str
    """`passed`, the names of the gates that said no, or `never asked`."""
    outcomes: Outcomes
    """How its live requests ended."""
    withdrawn: bool = False
    """Whether it or its base learned from a page that its owner withdrew since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHistory:
    """What speaks for a client, what could, and every change."""

    client: str
    live: str | None
    """`client@n`; None before there is a version."""
    promoted: bool
    """Whether it speaks by promotion; if not, the newest speaks."""
    canary: Canary | None
    versions: tuple[VersionState, ...]
    changes: tuple[Promotion, ...]
    """Oldest first."""
    marks: tuple[Mark, ...] = ()
    """Of its datasets, versions and their bases: what learned from pages that were withdrawn."""

    @property
    def stale(self) -> bool:
        """Whether what speaks, or the newest version, is bound to another base."""
        return any(item.stale for item in self.versions if item.live) or (
            bool(self.versions) and self.versions[-1].stale
        )


def promote_version(
    place: Place, ref: str, *, force_reason: str | None, share: float | None
) -> Promotion:
    """Let a version speak, or try it as a canary; see `Workspace.promote`."""
    from copydesk.desk._models import workspace_base  # it imports torch

    version = find_version(place.catalogue, ref)
    open_artifact(version.path)  # what is damaged speaks for nobody
    rules = canary_rules(place.config, share) if share is not None else None
    if force_reason is None and learned_withdrawn(place, version.name):
        raise NotPassed(
            f"{version.name} learned from a page that its owner withdrew",
            todo=f"Train it anew: copydesk curate and copydesk train {version.client}. "
            "--force --reason TEXT promotes it all the same, and is recorded.",
        )
    return promote(
        place.catalogue,
        version,
        Standard(thresholds=place.config.gates.digest, base=workspace_base(place).digest),
        by=_who(),
        force_reason=force_reason,
        canary=rules,
    )


def go_back(place: Place, client: str, *, reason: str) -> Promotion:
    """Let the version speak that spoke before, or stop the client's canary."""
    expected = promoted_number(place.catalogue, client)
    return rollback(place.catalogue, client, by=_who(), reason=reason, expected=expected)


def canary_rules(config: Config, share: float) -> CanaryRules:
    """The rules of the workspace's canaries."""
    own = config.canary
    return CanaryRules(share=share, requests=own.requests, ratio=own.ratio, alpha=own.alpha)


def client_history(place: Place, client: str) -> ClientHistory:
    """All versions and changes of a client."""
    changes = history(place.catalogue, client)
    found = versions(place.catalogue, client)
    live: Version | None = None
    if found:
        with contextlib.suppress(Damaged):  # what was promoted is gone, which the list shows
            live = live_version(place.catalogue, client)
    return ClientHistory(
        client=client,
        live=live.name if live else None,
        promoted=promoted_number(place.catalogue, client) is not None,
        canary=running_canary(place.catalogue, client),
        versions=tuple(_state(place, version, live) for version in found),
        changes=changes,
    )


def marked_history(place: Place, client: str) -> ClientHistory:
    """The same with what learned from withdrawn pages, which reads the client's datasets where any
    page was withdrawn."""
    found = client_history(place, client)
    names = {item.version for item in found.versions}
    bases = {item.base for item in found.versions}
    own: list[Mark] = []
    for mark in all_marks(place):
        of_client = mark.kind == "dataset" and mark.client == client
        if of_client or mark.name in (names if mark.kind == "version" else bases):
            own.append(mark)
    marked = {mark.name for mark in own if mark.kind == "version"}
    versions = tuple(replace(item, withdrawn=item.version in marked) for item in found.versions)
    return replace(found, versions=versions, marks=tuple(own))


def is_of_another_base(place: Place, version: Version) -> bool:
    """Whether a version is bound to a base of another name than the workspace's.

    By name, so that light commands need not look at weights; the gates compare digests.
    """
    return "base" in version.inputs and str(version.facts.get("base", "")) != base_name(place)


def base_name(place: Place) -> str:
    """The workspace's base as versions name it."""
    named = place.config.base
    for folder in (place.root / FOUNDATIONS / named, Path(named).expanduser()):
        if folder.is_dir():
            return folder.resolve().name
    return named


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The version that answers a request, and how it came to."""

    version: Version
    named: bool
    """Whether the caller named it, so that how the request ends says nothing of a canary."""
    canary: int
    """Id of the canary that drew it, for the one side or the other; 0 where none ran."""


def request_version(place: Place, ref: str, request: object) -> Drawn:
    """The version that answers a request for `client` or `client@n`, by the running canary."""
    asked = json.dumps(request, default=repr, sort_keys=True)
    # Before the version: a canary that begins in between did not draw it.
    canary = running_canary(place.catalogue, ref)
    version = version_for(place.catalogue, ref, asked)
    return Drawn(version=version, named="@" in ref, canary=canary.id if canary else 0)


def tell_outcome(place: Place, drawn: Drawn, *, findings: bool, error: bool) -> None:
    """Count how a request ended, unless the caller named the version."""
    if drawn.named:
        return
    version = drawn.version
    try:
        report_outcome(
            place.catalogue,
            version.client,
            version.number,
            findings=findings,
            error=error,
            drawn_by=drawn.canary,
        )
    except CopydeskError as problem:  # what was written is there all the same
        _LOG.warning("How a request of %s ended was not counted: %s", version.name, problem)


def _state(place: Place, version: Version, live: Version | None) -> VersionState:
    manifest = open_artifact(version.path, verify=False).manifest
    assert manifest is not None
    return VersionState(
        version=version.name,
        made=manifest.created,
        method=version.method,
        base=str(version.facts.get("base", "")),
        stale=is_of_another_base(place, version),
        live=live is not None and live.number == version.number,
        gates=said_of(newest_evaluation(place.catalogue, version.client, version.number)),
        outcomes=outcomes(place.catalogue, version.client, version.number),
    )


def said_of(evaluation: Evaluation | None) -> str:
    """What gates said, in a few words."""
    if evaluation is None:
        return "never asked"
    failed = [gate.name for gate in evaluation.gates if not gate.passed]
    return "passed" if evaluation.passed else ", ".join(failed) or "none asked"


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without users
        return "unknown"
