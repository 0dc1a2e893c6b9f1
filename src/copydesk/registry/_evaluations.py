"""What the gates said of a version, kept in the catalogue.

A gate is a name, a measured value and a threshold; how the value came about is not known here.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from copydesk.errors import Damaged, UnknownName
from copydesk.registry._versions import Version, version_entry
from copydesk.store import Catalogue

Bound = Literal["least", "most"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate, asked of one version."""

    name: str
    value: float
    """Finite: what could not be measured is not a result."""
    threshold: float
    bound: Bound
    """Whether the value must be at least or at most the threshold."""
    detail: str = ""
    """What the value is, in words and further figures. It names no other client."""

    @property
    def passed(self) -> bool:
        """Whether the value is on the right side of its threshold; on it is right."""
        if self.bound == "least":
            return self.value >= self.threshold
        return self.value <= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All gates of a version at one time, and what they hold for."""

    id: int
    client: str
    number: int
    digest: str
    """Of the version."""
    base: str
    """Digest of the base that it was measured on."""
    against: int | None
    """Number of the promoted version that it was compared with; None before any promotion."""
    thresholds: str
    """Digest of the settings that the gates were asked by."""
    gates: tuple[GateResult, ...]
    software: Mapping[str, str]
    """Package -> version that measured."""
    at: str

    @property
    def passed(self) -> bool:
        """Whether every gate said yes; no gates say nothing."""
        return bool(self.gates) and all(gate.passed for gate in self.gates)


def record_evaluation(
    catalogue: Catalogue,
    version: Version,
    gates: Sequence[GateResult],
    *,
    base: str,
    against: int | None,
    thresholds: str,
    software: Mapping[str, str],
) -> Evaluation:
    """Keep what the gates said; earlier evaluations stay, the newest counts.

    Raises:
        UnknownName: the version is gone, or another is in its place.
    """
    rows = json.dumps([asdict(gate) for gate in gates], allow_nan=False)
    packages = json.dumps(dict(software), sort_keys=True)
    with catalogue.writing() as db:
        entry = version_entry(catalogue, version.client, version.number)
        if entry is None or entry.digest != version.digest:
            raise UnknownName(f"{version.name} went while it was measured")
        at = now()
        cursor = db.execute(
            "INSERT INTO evaluations"
            " (client, number, digest, base, against, thresholds, gates, software, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                version.client,
                version.number,
                version.digest,
                base,
                against,
                thresholds,
                rows,
                packages,
                at,
            ),
        )
        assert cursor.lastrowid is not None
    return Evaluation(
        id=cursor.lastrowid,
        client=version.client,
        number=version.number,
        digest=version.digest,
        base=base,
        against=against,
        thresholds=thresholds,
        gates=tuple(gates),
        software=dict(software),
        at=at,
    )


def evaluations(catalogue: Catalogue, client: str) -> tuple[Evaluation, ...]:
    """A client's evaluations, oldest first.

    Raises:
        Damaged: a row of the catalogue is not what was written.
    """
    rows = catalogue.rows(f"{_SELECT} WHERE client = ? ORDER BY id", client)
    return tuple(_evaluation(row) for row in rows)


def newest_evaluation(catalogue: Catalogue, client: str, number: int) -> Evaluation | None:
    """What the gates said last of a version; None where they were never asked.

    Raises:
        Damaged: the row is not what was written.
    """
    rows = catalogue.rows(
        f"{_SELECT} WHERE client = ? AND number = ? ORDER BY id DESC LIMIT 1", client, number
    )
    return _evaluation(rows[0]) if rows else None


def now() -> str:
    """The time as the catalogue keeps it. Nothing is ordered by it: clocks go backwards too."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


_SELECT = (
    "SELECT id, client, number, digest, base, against, thresholds, gates, software, at"
    " FROM evaluations"
)


def _evaluation(row: tuple[Any, ...]) -> Evaluation:
    number, client, version, digest, base, against, thresholds, gates, software, at = row
    try:
        read = tuple(GateResult(**gate) for gate in json.loads(gates))
        packages = json.loads(software)
    except (ValueError, TypeError) as error:
        raise Damaged(
            f"What the gates said of {client}@{version} cannot be read: {error}",
            where="copydesk.db",
            todo=f"Ask them again: copydesk eval {client}@{version}",
        ) from error
    return Evaluation(
        id=number,
        client=client,
        number=version,
        digest=digest,
        base=base,
        against=against,
        thresholds=thresholds,
        gates=read,
        software=packages,
        at=at,
    )
