"""Add and look up versions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copydesk.errors import InvalidInput, UnknownName
from copydesk.store import Artifact, Catalogue, Entry, Keyring, changed_file, open_artifact

KIND = "versions"
_DIGITS = 18
_NONE = 10 ** (_DIGITS - 1)
"""No version has so high a number; SQLite holds no more than 64 bits."""


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
    return version_of(catalogue.make(kind=KIND, client=client, inputs=inputs, fill=fill))


def versions(catalogue: Catalogue, client: str) -> tuple[Version, ...]:
    """A client's versions, oldest first."""
    catalogue.client(client)
    return tuple(version_of(entry) for entry in catalogue.entries(KIND, client))


def numbered_version(catalogue: Catalogue, client: str, number: int) -> Version:
    """A client's version by its number, once its manifest's signature is checked.

    Raises:
        Damaged: the manifest is not what was signed; names file, expected and found.
        UnknownName: no such client, or it has no such version; lists those it has.
    """
    entry = version_entry(catalogue, client, number)
    if entry is not None:
        return version_of(entry, catalogue.keys)
    found = versions(catalogue, client)
    if not found:
        raise without_versions(client)
    names = ", ".join(version.name for version in found)
    raise UnknownName(f"There is no version '{client}@{number}'", todo=f"Versions are: {names}.")


def parse_ref(ref: str) -> tuple[str, int | None]:
    """Client and number of `client` or `client@n`.

    Raises:
        InvalidInput: what follows the @ is not a number.
    """
    client, at, number = ref.partition("@")
    if at and not (number.isdecimal() and number.isascii()):
        raise InvalidInput(f"{ref!r} is not a version", todo="Write it as client@number.")
    return client, min(int(number[:_DIGITS]), _NONE) if at else None


def without_versions(client: str) -> UnknownName:
    """The error for a client that has none."""
    return UnknownName(
        f"Client {client!r} has no version yet", todo=f"Train one with: copydesk train {client}"
    )


def version_entry(catalogue: Catalogue, client: str, number: int) -> Entry | None:
    """The catalogue's row of a version, None where there is none."""
    rows = catalogue.rows(
        "SELECT number, path, digest, created FROM artifacts"
        " WHERE kind = ? AND client = ? AND number = ?",
        KIND,
        client,
        number,
    )
    return row_entry(catalogue, client, rows[0]) if rows else None


def row_entry(catalogue: Catalogue, client: str, row: tuple[Any, ...]) -> Entry:
    """A row of number, path, digest and time as an entry."""
    number, path, digest, created = row
    return Entry(
        kind=KIND,
        client=client,
        number=number,
        path=catalogue.root / path,
        digest=digest,
        created=created,
    )


def version_of(entry: Entry, keys: Keyring | None = None) -> Version:
    """The version that a row of the catalogue lists, as its manifest states it.

    Raises:
        Damaged: the manifest is not the row's, or with `keys` not what was signed.
    """
    artifact = open_artifact(entry.path, verify=False, keys=keys)
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
