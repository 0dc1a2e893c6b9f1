"""The shelf of a comparison's cells: artifacts of their client, gone when it goes."""

from collections.abc import Mapping
from typing import Any

from copydesk.desk._place import Place
from copydesk.errors import Damaged
from copydesk.store import Artifact, json_bytes, open_artifact, read_json

KIND = "cells"
_FILE = "cell.json"
_KEY = "cell"


class CatalogueShelf:
    """Cells in the workspace's catalogue."""

    def __init__(self, place: Place) -> None:
        """Take an open workspace."""
        self._place = place

    def find(self, client: str, key: str) -> Mapping[str, Any] | None:
        """The newest whole record under a key; one that is damaged is as if it were not there."""
        for entry in reversed(self._place.catalogue.entries(KIND, client)):
            try:
                manifest = open_artifact(entry.path, verify=False).manifest
                assert manifest is not None
                if manifest.inputs.get(_KEY) != key:
                    continue
                open_artifact(entry.path)
                return read_json(entry.path / _FILE)
            except Damaged:
                continue
        return None

    def keep(
        self, client: str, key: str, record: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> None:
        """Keep a record as an artifact."""

        def fill(artifact: Artifact) -> None:
            (artifact.path / _FILE).write_bytes(json_bytes(record))

        self._place.catalogue.make(
            kind=KIND, client=client, inputs={**inputs, _KEY: key}, fill=fill
        )
