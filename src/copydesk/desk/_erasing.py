"""A client's erasure: everything made from its pages goes, and a signed receipt stays.

What is going to be said is written down first (`receipts/pending/`), so that a deletion that was
cut off is finished by the next one or by `doctor`, with the whole receipt. A receipt holds hashes
and no text. The client's name in it is a salted hash: whoever knows the name can show that the
receipt is about it, and a search of the workspace for the name finds nothing.
"""

import contextlib
import datetime
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from copydesk.corpus import each_material
from copydesk.desk._comparisons import forget_pooled
from copydesk.desk._learned import learners, unknown_learners
from copydesk.desk._place import DATASETS, Place
from copydesk.desk._using import RECEIPTS, pending_file
from copydesk.desk._voice import forget_voices
from copydesk.errors import Damaged, InUse
from copydesk.store import (
    held,
    json_bytes,
    read_json,
    replace_bytes,
    storage_errors,
    users,
)

PATIENCE_SECONDS = 5.0
"""How long a deletion waits for those who use the client to end."""
RECEIPT: Final = "copydesk receipt/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What an erasure says of itself."""

    path: Path
    at: str
    """When it was done: ISO time, UTC."""
    client: str
    """SHA-256 of the salt and the client's name, in hexadecimal."""
    salt: str
    artifacts: tuple[Mapping[str, Any], ...]
    """Kind, number and digest of each that was removed."""
    pages: tuple[str, ...]
    """SHA-256 of each page's raw bytes."""
    learned: tuple[Mapping[str, Any], ...]
    """Foundations, and other clients' versions on them, that learned from these pages and stay:
    kind, name and digest."""
    unknown: tuple[str, ...]
    """Foundations from before what they learned from was recorded."""
    keys: tuple[str, ...]
    """Ids of the server's keys that were for this client alone and went with it."""
    key: str
    """Public key that the receipt is signed by, in hexadecimal."""

    def is_about(self, name: str) -> bool:
        """Whether it is the receipt of the client of this name."""
        return self.client == _hidden(self.salt, name)


def erase_client(place: Place, name: str, *, report: Path) -> Receipt:
    """Remove a client and everything made from its pages; a deletion that was cut off is finished.

    Args:
        place: the workspace.
        name: the client's.
        report: the file of the report of all clients, which quotes drafts.

    Raises:
        UnknownName: there is none of that name, and no deletion of it to finish.
        InUse: it is being used; says by whom.
        NoRoom: the workspace may not be written.
    """
    pending = pending_file(place, name)
    begun = pending.is_file()
    if not begun:
        place.catalogue.client(name)
    with (
        # A foundation in training may be learning from the client's pages.
        held(place.locks, ".foundation", doing=f"deletes {name}"),
        held(place.locks, name, doing="deletes it", forget=True),
    ):
        place.catalogue.keys.make()
        facts = _written_down(place, name, pending)
        if (user := _still_using(place, name)) is not None:
            if not begun:
                pending.unlink(missing_ok=True)
            raise InUse(f"{name} is in use by {user}", todo="Wait until it ends, then try again.")
        # The artifacts' rows go first and the name last: cut off between, the client is still there
        # to be deleted again, and nothing is listed that is gone.
        known = any(row.name == name for row in place.catalogue.clients())
        forget_pooled(place, name)
        if known:
            place.catalogue.forget_artifacts(name)
        _sweep(place, name, report)
        if known:
            _forget_keys(place, name)
            place.catalogue.remove_client(name)
        # Whoever looked up the client before its row went may have written meanwhile.
        _sweep(place, name, report)
        place.catalogue.compact()
        receipt = _kept(place, facts)
        pending.unlink(missing_ok=True)
    return receipt


def _still_using(place: Place, name: str) -> str | None:
    """Who uses the client still after a while; nobody new does, who all find the deletion begun."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while found := users(place.locks, name):
        if time.monotonic() > deadline:
            return found[0]
        time.sleep(0.02)
    return None


def pending_erasures(place: Place) -> tuple[str, ...]:
    """Clients whose deletion was begun and did not end."""
    return tuple(sorted(file.stem for file in (place.root / RECEIPTS / "pending").glob("*.json")))


def receipts(place: Place) -> tuple[Receipt, ...]:
    """All receipts, oldest first, their signatures checked.

    Raises:
        Damaged: one is not what was signed; names the file.
    """
    found = [read_receipt(place, file) for file in (place.root / RECEIPTS).glob("*.json")]
    return tuple(sorted(found, key=lambda receipt: (receipt.at, receipt.path.name)))


def read_receipt(place: Place, file: Path) -> Receipt:
    """One receipt, its signature checked.

    Raises:
        Damaged: it is not what was signed.
    """
    raw = read_json(file)
    if not isinstance(raw, dict):
        raise Damaged("The receipt is none", where=str(file), todo="Restore it from a backup.")
    place.catalogue.keys.verify(RECEIPT, raw, file)
    return Receipt(
        path=file,
        at=raw["at"],
        client=raw["client"],
        salt=raw["salt"],
        artifacts=tuple(raw["artifacts"]),
        pages=tuple(raw["pages"]),
        learned=tuple(raw["learned"]),
        unknown=tuple(raw["unknown"]),
        keys=tuple(raw["keys"]),
        key=raw["key"],
    )


def _written_down(place: Place, name: str, pending: Path) -> dict[str, Any]:
    """What the receipt will say, on disk before anything is removed.

    What an earlier deletion wrote down before it was cut off is in it too.
    """
    facts = _facts(place, name)
    if pending.is_file():
        # One that is not ours is passed over: what is still there is said all the same.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            facts = _joined(json.loads(pending.read_bytes()), facts)
    replace_bytes(pending, json_bytes(facts))
    return facts


def _facts(place: Place, name: str) -> dict[str, Any]:
    entries = [entry for entry in place.catalogue.listed() if entry.client == name]
    pages: set[str] = set()
    for entry in entries:
        if entry.kind == DATASETS:
            pages |= _page_hashes(entry.path)
    digests = {entry.digest for entry in entries if entry.kind == DATASETS}
    salt = secrets.token_hex(16)
    return {
        "client": _hidden(salt, name),
        "salt": salt,
        "artifacts": [
            {"kind": entry.kind, "number": entry.number, "digest": entry.digest}
            for entry in entries
        ],
        "pages": sorted(pages),
        "learned": [
            {"kind": item.kind, "name": item.name, "digest": item.digest}
            for item in learners(place, pages=pages, datasets=digests, but=name)
        ],
        "unknown": list(unknown_learners(place)),
        "keys": _own_keys(place, name),
    }


def _own_keys(place: Place, name: str) -> list[str]:
    """Ids of the server's keys that allow this client and nothing else."""
    rows = place.catalogue.rows(
        "SELECT id FROM keys WHERE NOT every_client AND NOT base AND NOT admin"
        " AND id IN (SELECT key FROM key_clients WHERE client = ?1)"
        " AND id NOT IN (SELECT key FROM key_clients WHERE client <> ?1) ORDER BY id",
        name,
    )
    return [str(ident) for (ident,) in rows]


def _forget_keys(place: Place, name: str) -> None:
    """Remove them: nobody could use them, and their labels may name the client."""
    with place.catalogue.writing() as db:
        db.executemany("DELETE FROM keys WHERE id = ?", [(n,) for n in _own_keys(place, name)])


def _joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Both, each thing once; the older salt stays."""

    def both(name: str) -> list[Any]:
        seen = {json.dumps(item, sort_keys=True): item for item in (*old[name], *new[name])}
        return [seen[key] for key in sorted(seen)]

    lists = {name: both(name) for name in ("artifacts", "pages", "learned", "unknown", "keys")}
    return {"client": old["client"], "salt": old["salt"], **lists}


def _page_hashes(dataset: Path) -> set[str]:
    """Of the pages of a dataset, as far as it can still be read."""
    found: set[str] = set()
    for part in ("train.jsonl", "heldout.jsonl"):
        try:
            found.update(item.sha256 for item in each_material(dataset / part))
        except (OSError, ValueError):
            continue
    return found


def _sweep(place: Place, name: str, report: Path) -> None:
    """Remove the folders of a client, and what of others was made with its pages in it."""
    for file in (report, *report.parent.glob(f".{report.name}.*.part")):
        file.unlink(missing_ok=True)
    forget_voices(place)
    shelves = [shelf / name for shelf in (place.root / "artifacts").glob("*")]
    # No foundation that was cut off can go on without the client's pages.
    unfinished = place.root / "runs" / ".foundation"
    own = (place.client_folder(name), place.runs_folder(name), place.cache_folder(name))
    for folder in (*own, *shelves, unfinished):
        if folder.exists():
            with storage_errors(folder):
                shutil.rmtree(folder)
    # A catalogue that `doctor` put aside lists the client.
    for file in place.root.glob("copydesk.db.damaged-*"):
        with storage_errors(file):
            file.unlink(missing_ok=True)


def _kept(place: Place, facts: Mapping[str, Any]) -> Receipt:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    signed = place.catalogue.keys.sign(RECEIPT, {**facts, "at": now})
    file = place.root / RECEIPTS / f"{facts['client'][:16]}.json"
    replace_bytes(file, json_bytes(signed))
    return read_receipt(place, file)


def _hidden(salt: str, name: str) -> str:
    return hashlib.sha256(f"{salt}:{name}".encode()).hexdigest()
