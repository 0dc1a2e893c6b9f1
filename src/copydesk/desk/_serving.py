"""What is asked of an engine over a workspace, and what was started."""

from dataclasses import dataclass

from copydesk.desk._roster import Roster
from copydesk.desk._supervisor import Supervised
from copydesk.store import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmWish:
    """Which vLLM is to be used."""

    url: str | None = None
    """Where it runs; None starts one here."""
    model: str | None = None
    """What it calls the base; None is the base's name, and of one started here `base`."""
    api_key: str = ""
    arguments: tuple[str, ...] = ()
    """More of its own arguments, for one that is started here."""
    max_adapters: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """An engine that runs over a workspace's base, and what it can answer for."""

    engine: Supervised
    base_name: str
    base_digest: str
    methods: frozenset[str]
    """Whose adapters it takes."""

    def roster(self, catalogue: Catalogue) -> Roster:
        """The models that it answers for."""
        return Roster(
            catalogue=catalogue,
            base_name=self.base_name,
            base_digest=self.base_digest,
            methods=self.methods,
        )
