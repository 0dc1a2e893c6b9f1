"""Answers of a running server, checked for canaries: no brief stands behind them, so they are
checked by what holds for every text of the client: its guide, its rules, whose words they are."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from copydesk.content import Standards, check
from copydesk.desk._config import CONFIG_FILE, Config, read_config
from copydesk.desk._place import DATASETS, Place
from copydesk.store import Catalogue

_KEPT_SECONDS = 60.0
"""So long a client's standards are kept; a guide that was changed holds from then on."""
_KEPT = 8
"""Clients whose standards are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    standards: Standards
    dataset: str
    """Digest of the dataset that they were made with."""
    until: float


class AnswerChecks:
    """Checks answers of a workspace's clients. It belongs to one thread."""

    def __init__(self, root: Path) -> None:
        """Take the workspace's folder."""
        self._root = root
        self._kept: dict[str, _Kept] = {}

    def wrong(self, client: str, texts: Sequence[str]) -> tuple[str, ...] | None:
        """The rules by which there is a finding that is an error and not waived.

        Args:
            client: whose voice answered.
            texts: of one request.

        Returns:
            None where chance leaves the answers unchecked, by `[canary] checked_answers`.

        Raises:
            CopydeskError: the client is gone, or one of its files cannot be used.
        """
        config = read_config(self._root / CONFIG_FILE)
        # Not by the request's id: the version was drawn by that.
        if random.random() >= config.canary.checked_answers:
            return None
        standards = self._standards(client, config)
        found = [
            finding.rule
            for text in texts
            for finding in check(text, standards=standards)
            if finding.severity == "error" and finding.waived is None
        ]
        return tuple(dict.fromkeys(found))

    def _standards(self, client: str, config: Config) -> Standards:
        # Only a server needs what it imports.
        from copydesk.desk._checking import client_standards

        now = time.monotonic()
        self._kept = {name: kept for name, kept in self._kept.items() if kept.until > now}
        catalogue = Catalogue(self._root)
        try:
            catalogue.client(client)
            entry = catalogue.latest(DATASETS, client)
            dataset = entry.digest if entry is not None else ""
            kept = self._kept.pop(client, None)
            if kept is None or kept.dataset != dataset:
                place = Place(root=self._root, config=config, catalogue=catalogue)
                kept = _Kept(
                    standards=client_standards(place, client).standards,
                    dataset=dataset,
                    until=now + _KEPT_SECONDS,
                )
        finally:
            catalogue.close()
        while len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[client] = kept
        return kept.standards
