"""Add and look up versions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copydesk.errors import InvalidInput, UnknownName
from copydesk.store import Artifact, Catalogue, Entry, changed_file, open_artifact

KIND = "versions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A tuned model of a client."""

    client: str
    number: int
    path: Path
    digest: str
    inputs: Mapping[str, str]
    """Digests of the base, the dataset, the chat template and the run it came from."""
    facts: Mapping[str, Any]
    """Method, settings, scores and training figures."""

    @property
    def name(self) -> str:
        """`client@n`."""
        return f"{self.client}@{self.number}"

    @property
    def method(self) -> str:
        """The method that made it."""
        return str(self.facts["method"])


def add_version(
    catalogue: Catalogue,
    client: str,
    inputs: Mapping[str, str],
    fill: Callable[[Artifact], None],
) -> Version:
    """Make the client's next version; `fill` writes it, see `Catalogue.make`."""
    return _version(catalogue.make(kind=KIND, client=client, inputs=inputs, fill=fill))


def versions(catalogue: Catalogue, client: str) -> tuple[Version, ...]:
    """A client's versions, oldest first."""
    catalogue.client(client)
    return tuple(_version(entry) for entry in catalogue.entries(KIND, client))


def find_version(catalogue: Catalogue, ref: str) -> Version:
    """The version that `client` or `client@n` names, once its manifest's signature is checked.

    Raises:
        Damaged: the manifest is not what was signed; names file, expected and found.
        UnknownName: no such client, or it has no such version; lists those it has.
        InvalidInput: what follows the @ is not a number.
    """
    client, at, number = ref.partition("@")
    found = versions(catalogue, client)
    if at and not number.isdecimal():
        raise InvalidInput(f"{ref!r} is not a version", todo="Write it as client@number.")
    if not found:
        raise UnknownName(
            f"Client {client!r} has no version yet", todo=f"Train one with: copydesk train {client}"
        )
    for version in found[-1:] if not at else found:
        if not at or str(version.number) == number:
            open_artifact(version.path, verify=False, keys=catalogue.keys)
            return version
    names = ", ".join(version.name for version in found)
    raise UnknownName(f"There is no version {ref!r}", todo=f"Versions are: {names}.")


def _version(entry: Entry) -> Version:
    artifact = open_artifact(entry.path, verify=False)
    manifest = artifact.manifest
    assert manifest is not None
    if artifact.digest != entry.digest:
        raise changed_file(entry.path / "manifest.json", entry.digest, artifact.digest)
    return Version(
        client=entry.client,
        number=entry.number,
        path=entry.path,
        digest=entry.digest,
        inputs=manifest.inputs,
        facts=manifest.facts,
    )
