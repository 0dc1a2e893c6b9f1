"""Which models a key may use, and the adapter that answers for each."""

from collections.abc import Iterator
from dataclasses import dataclass

from copydesk.desk._keys import Key
from copydesk.errors import InvalidInput, UnknownName, WrongBase
from copydesk.records import AdapterRef
from copydesk.registry import (
    Promotion,
    Version,
    adapter_ref,
    live_version,
    report_outcome,
    running_canary,
    version_for,
    versions,
)
from copydesk.store import Catalogue

BASE_PREFIX = "base:"
"""Before the base's name: no client's name has a colon, so none can stand in for the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model as a request names it."""

    id: str
    """`client`, `client@n` or `base:NAME`."""
    name: str
    """What answers: `client@n` or `base:NAME`."""
    client: str
    """Empty for the base."""
    adapter: AdapterRef | None
    number: int = 0
    """Of the version."""
    canary: int | None = None
    """The canary that drew it, for the one side or the other: one ran, and the client was named
    without a version."""
    created: int = 0
    """When its folder was finished, in seconds since 1970; 0 for the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The models of a workspace over the base that is served.

    Every look-up reads the catalogue anew, so that what is trained or promoted answers from the
    next request on. It belongs to the thread that opened the catalogue.
    """

    catalogue: Catalogue
    base_name: str
    base_digest: str
    methods: frozenset[str]
    """Whose adapters the engine takes."""

    def find(self, key: Key | None, model: str, request_id: str = "") -> ServedModel:
        """What a request's `model` means to the holder of a key.

        Args:
            key: None where the server is open: everything is allowed.
            model: `client` for its live version, `client@n`, or `base:NAME`.
            request_id: while a canary runs, which of two versions answers follows from it.

        Raises:
            UnknownName: there is none, or the key does not allow it: the answer is the same, and a
                client that is not allowed is not even looked for.
            WrongBase: the version is not for the engine that runs.
            Damaged: its manifest is not what was written.
        """
        if model == self.base_id:
            if key is None or key.base:
                return self._base()
            raise _unknown(model)
        client = model.partition("@")[0]
        if key is not None and not key.allows(client):
            raise _unknown(model)
        try:
            # Before the version: a canary that begins in between did not draw it.
            canary = None if "@" in model else running_canary(self.catalogue, model)
            version = version_for(self.catalogue, model, request_id)
        except (UnknownName, InvalidInput) as error:
            raise _unknown(model) from error
        if why := self._obstacle(version):
            raise WrongBase(f"{version.name} cannot be served: {why}")
        return self._served(model, version, canary=canary.id if canary else None)

    def models(self, key: Key | None) -> tuple[ServedModel, ...]:
        """All models that a key may use, each client by its name and by its versions."""
        return tuple(self._each(key))

    def report(
        self, client: str, number: int, *, canary: int, findings: bool, error: bool
    ) -> Promotion | None:
        """Tell a canary, if it still runs, how a request ended that it drew.

        Returns:
            What followed for the canary; None where it goes on, or runs no more.
        """
        running = running_canary(self.catalogue, client)
        if running is None or running.id != canary:
            return None
        return report_outcome(
            self.catalogue, client, number, findings=findings, error=error, drawn_by=canary
        )

    @property
    def base_id(self) -> str:
        """How a request names the base."""
        return BASE_PREFIX + self.base_name

    def _each(self, key: Key | None) -> Iterator[ServedModel]:
        if key is None or key.base:
            yield self._base()
        for row in self.catalogue.clients():
            if key is not None and not key.allows(row.name):
                continue
            usable = [
                version
                for version in versions(self.catalogue, row.name)
                if not self._obstacle(version)
            ]
            if not usable:
                continue
            live = live_version(self.catalogue, row.name)
            if not self._obstacle(live):
                yield self._served(row.name, live)
            for version in usable:
                yield self._served(version.name, version)

    def _obstacle(self, version: Version) -> str | None:
        if version.method not in self.methods:
            return f"the engine takes no adapters by {version.method}"
        if version.inputs.get("base") != self.base_digest:
            return "it was trained on another base than the one that runs"
        return None

    def _base(self) -> ServedModel:
        return ServedModel(id=self.base_id, name=self.base_id, client="", adapter=None)

    def _served(self, model: str, version: Version, *, canary: int | None = None) -> ServedModel:
        return ServedModel(
            id=model,
            name=version.name,
            client=version.client,
            adapter=adapter_ref(version),
            number=version.number,
            canary=canary,
            created=int(version.path.stat().st_mtime),
        )


def _unknown(model: str) -> UnknownName:
    return UnknownName(f"The model {model!r} does not exist or you do not have access to it")
