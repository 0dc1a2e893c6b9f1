"""Which version speaks for a client.

A client that never promoted one speaks by its newest: what was trained can be tried at once. From
the first promotion on only promoted versions speak, whatever is trained after it; going back from
the first promotion goes to the version that spoke before it. While a canary runs, a share of the
requests goes to its candidate.
"""

import contextlib
import hashlib

from copydesk.errors import Damaged, UnknownName
from copydesk.records import AdapterRef
from copydesk.registry._versions import (
    KIND,
    Version,
    numbered_version,
    parse_ref,
    row_entry,
    version_of,
    without_versions,
)
from copydesk.store import Catalogue

# One statement, so that no promotion falls between its parts.
_LIVE = """
SELECT number, path, digest, created FROM artifacts
WHERE kind = ?1 AND client = ?2 AND number = coalesce(
    (SELECT number FROM live WHERE client = ?2),
    (SELECT max(number) FROM artifacts WHERE kind = ?1 AND client = ?2))
"""
_CANARY = "SELECT id, number, share FROM canaries WHERE client = ?"


def live_version(catalogue: Catalogue, client: str) -> Version:
    """The version that speaks for a client: the promoted one, before any promotion the newest.

    Raises:
        UnknownName: no such client, or it has no version yet.
        Damaged: the promoted version is not there any more.
    """
    rows = catalogue.rows(_LIVE, KIND, client)
    if rows:
        return version_of(row_entry(catalogue, client, rows[0]), catalogue.keys)
    catalogue.client(client)
    number = promoted_number(catalogue, client)
    if number is None:
        raise without_versions(client)
    raise Damaged(
        f"{client}@{number} was promoted and is not in the catalogue any more",
        todo=f"Promote another version; copydesk history {client} lists what was live.",
    )


def live_number(catalogue: Catalogue, client: str) -> int | None:
    """The number of the version that speaks, be it whole or not; None where there is none."""
    rows = catalogue.rows(
        "SELECT coalesce((SELECT number FROM live WHERE client = ?2),"
        " (SELECT max(number) FROM artifacts WHERE kind = ?1 AND client = ?2))",
        KIND,
        client,
    )
    return rows[0][0]


def promoted_number(catalogue: Catalogue, client: str) -> int | None:
    """The number of the client's promoted version; None where it never promoted one."""
    rows = catalogue.rows("SELECT number FROM live WHERE client = ?", client)
    return int(rows[0][0]) if rows else None


def version_for(catalogue: Catalogue, ref: str, request_id: str) -> Version:
    """The version that answers a request for `client` or `client@n`.

    The same request gets the same version for as long as a canary runs: which one is a hash of its
    id and the canary's. What a version of `client` gave is to be told to `report_outcome`.

    Raises:
        UnknownName, InvalidInput, Damaged: as `find_version`.
    """
    client, number = parse_ref(ref)
    if number is not None:
        return numbered_version(catalogue, client, number)
    for canary, candidate, share in catalogue.rows(_CANARY, client):
        if drawn(f"{canary}:{request_id}") < share:
            with contextlib.suppress(UnknownName):  # a candidate that is gone answers nobody
                return numbered_version(catalogue, client, candidate)
    return live_version(catalogue, client)


def drawn(name: str) -> float:
    """A number in [0, 1) that follows from a name, evenly spread over names."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)


def find_version(catalogue: Catalogue, ref: str) -> Version:
    """The version that `client` or `client@n` names; without a number the one that speaks.

    Raises:
        UnknownName: no such client, or it has no such version; lists those it has.
        InvalidInput: what follows the @ is not a number.
        Damaged: the promoted version is not there any more.
    """
    client, number = parse_ref(ref)
    if number is None:
        return live_version(catalogue, client)
    return numbered_version(catalogue, client, number)


def adapter_ref(version: Version) -> AdapterRef:
    """A version as a generation engine is given it."""
    return AdapterRef(
        name=version.name,
        path=version.path,
        digest=version.digest,
        base_digest=version.inputs.get("base", ""),
    )
