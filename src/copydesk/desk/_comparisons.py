"""Comparisons that were kept: read back, and forgotten with their clients."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from copydesk.desk._place import Place
from copydesk.records import Comparison, LossPoint, MethodRow, SweptRate
from copydesk.store import Artifact, Entry, json_bytes, read_json

KIND = "comparisons"
POOLED = "pooled"
"""Comparisons of several clients; the first of them has the artifact."""
_FILE = "comparison.json"
_FORMER = {"predicted_train_seconds"}
"""Fields that rows once had, always empty."""


def keep_comparison(place: Place, comparison: Comparison, runs: Mapping[str, str]) -> None:
    """Keep a comparison, with the digests of the recipes that were asked about."""

    def fill(artifact: Artifact) -> None:
        (artifact.path / _FILE).write_bytes(json_bytes(asdict(comparison)))

    owner, *more = comparison.clients
    place.catalogue.make(kind=POOLED if more else KIND, client=owner, inputs=runs, fill=fill)


def newest_comparisons(place: Place) -> tuple[Comparison, ...]:
    """The newest comparison of each client that has one, then the newest of each group."""
    found = [
        _comparison(read_json(entry.path / _FILE))
        for row in place.catalogue.clients()
        if (entry := place.catalogue.latest(KIND, row.name)) is not None
    ]
    groups = {
        comparison.client: comparison
        for entry in _pooled(place)
        for comparison in (_comparison(read_json(entry.path / _FILE)),)
    }
    return (*found, *groups.values())


def forget_pooled(place: Place, client: str) -> None:
    """Remove the comparisons of several clients in which this one has a part."""
    for entry in _pooled(place):
        if client in read_json(entry.path / _FILE)["clients"]:
            place.catalogue.forget(entry)
            shutil.rmtree(entry.path, ignore_errors=True)


def _pooled(place: Place) -> list[Entry]:
    """All comparisons of several clients, oldest first of each client's."""
    return [
        entry
        for row in place.catalogue.clients()
        for entry in place.catalogue.entries(POOLED, row.name)
    ]


def _comparison(raw: Any) -> Comparison:
    rows = tuple(_row(row) for row in raw["rows"])
    return Comparison(**(raw | {"rows": rows, "clients": tuple(raw.get("clients", ()))}))


def _row(raw: Any) -> MethodRow:
    pairs = {
        key: tuple(raw[key]) if raw[key] is not None else None
        for key in ("heldout_loss_ci", "relative_performance_ci")
    }
    lists = {
        "curve": tuple(LossPoint(**point) for point in raw["curve"]),
        "swept": tuple(SweptRate(**rate) for rate in raw.get("swept", ())),
        "tied_with": tuple(raw.get("tied_with", ())),
    }
    row: dict[str, Any] = {name: value for name, value in raw.items() if name not in _FORMER}
    row.update(pairs)
    row.update(lists)
    return MethodRow(**row)
