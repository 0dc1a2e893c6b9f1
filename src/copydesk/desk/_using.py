"""Using a client's things beside others who do, and never while the client is being deleted."""

import contextlib
import shutil
from collections.abc import Generator
from pathlib import Path

from copydesk.desk._place import Place
from copydesk.errors import InUse
from copydesk.store import shared

RECEIPTS = "receipts"


@contextlib.contextmanager
def using(place: Place, client: str, *, doing: str) -> Generator[None]:
    """Use a client for the length of the block; a deletion is refused meanwhile.

    Each looks for the other after it has said that it is there, so one of the two is seen.

    Raises:
        UnknownName: no such client.
        InUse: it is being deleted.
    """
    place.catalogue.client(client)
    with shared(place.locks, client, doing=doing):
        if pending_file(place, client).is_file():
            raise InUse(
                f"{client} is being deleted",
                todo="Where nobody does any more, finish it: "
                f"copydesk client delete {client} --yes",
            )
        place.catalogue.client(client)
        yield


def pending_file(place: Place, client: str) -> Path:
    """Where a deletion under way is written down."""
    return place.root / RECEIPTS / "pending" / f"{client}.json"


def drop_if_gone(place: Place, client: str, made: Path) -> None:
    """Remove what was just made of a client that was deleted meanwhile.

    For caches, which are made in passing of other clients' pages, without `using` them. A deletion
    takes the client's row first and then removes folders; so one of the two sees the other.
    """
    if all(row.name != client for row in place.catalogue.clients()):
        shutil.rmtree(made, ignore_errors=True)
