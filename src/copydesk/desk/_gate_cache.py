"""What was measured of a model on a client's pages, kept in that client's cache folder.

The folder goes when the client goes. What is kept under other clients' pages of a version is its
losses alone, under a hash.
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from copydesk.desk._place import Place
from copydesk.desk._using import using
from copydesk.errors import CopydeskError, Damaged
from copydesk.store import json_bytes, json_digest, read_json, replace_bytes

_FORMAT = "gates/1"
_MOST = 400
"""Files kept of each client; the oldest go first."""


class GateCache:
    """Measurements by the hash of all that they depend on."""

    def __init__(self, place: Place, owner: str) -> None:
        """Take an open workspace, and the client whose lock the caller holds."""
        self._place = place
        self._owner = owner

    def find(self, client: str, asked: Mapping[str, Any]) -> Any:
        """What was kept, None where there is nothing or it cannot be read."""
        file = self._file(client, asked)
        if not file.is_file():
            return None
        try:
            found = read_json(file)
        except Damaged:
            return None
        return found if isinstance(found, dict) else None

    def keep(self, client: str, asked: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Keep it; where the client is being deleted, or the disk is full, it is not kept."""
        with contextlib.suppress(CopydeskError), contextlib.ExitStack() as locks:
            if client != self._owner:
                # Not while it is being deleted: nothing is left behind it.
                locks.enter_context(using(self._place, client, doing="keeps scores of it"))
            file = self._file(client, asked)
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(file, json_bytes(dict(found)))
            _prune(file.parent)

    def measured(
        self, client: str, asked: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """What was kept, or else what is measured now."""
        found = self.find(client, asked)
        if found is None:
            found = measure()
            self.keep(client, asked, found)
        return found

    def _file(self, client: str, asked: Mapping[str, Any]) -> Path:
        key = json_digest({"format": _FORMAT, **asked})
        return self._place.cache_folder(client) / "gates" / f"{key[:32]}.json"


def _prune(folder: Path) -> None:
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
    for file in files[: max(0, len(files) - _MOST)]:
        file.unlink(missing_ok=True)
