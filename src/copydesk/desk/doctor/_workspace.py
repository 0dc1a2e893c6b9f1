"""Keys, deletions, promotions, folders of nobody, caches, locks, settings, clocks."""

import datetime
from collections.abc import Iterator
from pathlib import Path

from copydesk.desk._config import CONFIG_FILE
from copydesk.desk._erasing import Receipt, erase_client, pending_erasures, read_receipt
from copydesk.desk._keys import ServerKeys
from copydesk.desk._place import FOUNDATIONS, Place
from copydesk.desk._withdrawing import marks
from copydesk.desk.doctor._artifacts import remove
from copydesk.desk.doctor._troubles import BACKUP, REPAIR, Case, error, note
from copydesk.errors import CopydeskError, Damaged, InvalidInput
from copydesk.store import holder_of, open_artifact

_A_DAY = datetime.timedelta(days=1)


def keys(place: Place) -> Iterator[Case]:
    """The pair that signs: both halves, readable by their owner alone."""
    ring = place.catalogue.keys
    mode = ring.private_mode()
    if mode is None and ring.own() is not None:
        yield Case(
            trouble=note(
                "keys",
                "The private key is gone; what it signed can still be checked",
                ring.folder,
                "Restore it from a backup. Else the next artifact makes a new pair, and the old "
                "public key stays trusted.",
            )
        )
    elif mode is not None and ring.own() is None:
        yield Case(
            trouble=error("keys", "The public key is gone", ring.folder, f"Use: {REPAIR}"),
            mend=lambda: _make(place),
            done="It was written again from the private key.",
        )
    if mode is not None and mode & 0o077:
        yield Case(
            trouble=error(
                "keys",
                f"Others may read the private key: expected mode 600, found {mode:o}",
                ring.folder,
                f"Use: {REPAIR}. Whoever read it can sign as this workspace.",
            ),
            mend=ring.protect,
            done="Its owner alone may read it now.",
        )


def server_keys(place: Place) -> Iterator[Case]:
    """Whether the server still needs keys where any were made, and has those that were."""
    known = ServerKeys(place.catalogue)
    where = place.root / "copydesk.db"
    if known.listed() and not known.remembered():
        yield Case(
            trouble=error(
                "server keys",
                "It is written down nowhere but in the catalogue that the server needs keys",
                where,
                f"Were the catalogue lost, the server would stand open. Use: {REPAIR}",
            ),
            mend=known.remember,
            done="It was written down beside the catalogue.",
        )
    elif known.remembered() and not known.listed():
        yield Case(
            trouble=note(
                "server keys",
                "The server needs keys and has none, so it answers nobody: they went with their "
                "clients, or were lost with the catalogue",
                where,
                "Make new ones: copydesk key add; or restore the catalogue from a backup.",
            )
        )


def readable_receipts(place: Place) -> tuple[tuple[Receipt, ...], tuple[Case, ...]]:
    """The receipts that are what was signed, and what is wrong with the others."""
    good: list[Receipt] = []
    bad: list[Case] = []
    for file in sorted((place.root / "receipts").glob("*.json")):
        try:
            good.append(read_receipt(place, file))
        except (Damaged, KeyError, TypeError) as wrong:
            what = wrong.what if isinstance(wrong, Damaged) else "The receipt lacks a field"
            bad.append(Case(trouble=error("receipts", what, file, BACKUP)))
    return tuple(good), tuple(bad)


def deletions(place: Place) -> Iterator[Case]:
    """Deletions that were begun and did not end."""
    for client in pending_erasures(place):
        yield Case(
            trouble=error(
                "deletions",
                f"The deletion of {client} was cut off",
                place.root / "receipts" / "pending" / f"{client}.json",
                f"Use: {REPAIR}, or: copydesk client delete {client} --yes",
            ),
            mend=lambda client=client: _erase(place, client),
            done="It was finished, and a receipt written.",
        )


def promotions(place: Place) -> Iterator[Case]:
    """Versions that speak, or are tried, and are not there."""
    for table, word in (("live", "speaks"), ("canaries", "is tried as a canary")):
        missing = place.catalogue.rows(
            f"SELECT client, number FROM {table} AS it WHERE NOT EXISTS (SELECT 1 FROM artifacts"
            " WHERE kind = 'versions' AND client = it.client AND number = it.number)"
        )
        for client, number in missing:
            yield Case(
                trouble=error(
                    "promotions",
                    f"{client}@{number} {word} and is not in the catalogue",
                    place.root / "artifacts" / "versions" / str(client) / str(number),
                    "Restore its folder from a backup and run: "
                    f"{REPAIR}; or: copydesk rollback {client}",
                )
            )


def strays(place: Place, receipts: tuple[Receipt, ...]) -> Iterator[Case]:
    """Folders of clients that the catalogue does not know."""
    known = {row.name for row in place.catalogue.clients()}
    found = {
        folder.name
        for shelf in ("clients", "runs", "cache")
        for folder in (place.root / shelf).glob("*")
        if folder.is_dir() and not folder.name.startswith(".")
    }
    for client in sorted(found - known):
        where = place.client_folder(client)
        if any(receipt.is_about(client) for receipt in receipts):
            yield Case(
                trouble=error(
                    "strays", f"Something of {client} is left, which was erased", where,
                    f"Use: {REPAIR}",
                ),
                mend=lambda client=client: _erase(place, client, again=True),
                done="It was removed.",
            )  # fmt: skip
        else:
            yield Case(
                trouble=error(
                    "strays", f"The catalogue does not know {client}, of which there are folders",
                    where, f"Use: {REPAIR}",
                ),
                mend=lambda client=client: place.catalogue.add_client(client),
                done="The client is in the catalogue again.",
            )  # fmt: skip


def erased_pages(place: Place, receipts: tuple[Receipt, ...]) -> Iterator[Case]:
    """What is still here that learned from the pages of clients that were erased."""
    there = {entry.digest for entry in place.catalogue.listed()}
    for receipt in receipts:
        for item in receipt.learned:
            folder = place.root / FOUNDATIONS / str(item["name"])
            if folder.is_dir() if item["kind"] == "foundation" else item["digest"] in there:
                what = f"{item['kind']} {item['name']} learned from pages that were erased since"
                todo = "Train a new foundation without them, and the clients on it anew."
                yield Case(trouble=note("erased pages", what, receipt.path, todo))


def withdrawals(place: Place) -> Iterator[Case]:
    """What learned from pages that their owner withdrew."""
    for row in place.catalogue.clients():
        try:
            found = marks(place, row.name)
        except CopydeskError as wrong:
            yield Case(trouble=error("withdrawals", wrong.what, wrong.where or row.name, BACKUP))
            continue
        for mark in found:
            yield Case(
                trouble=note(
                    "withdrawals",
                    f"{mark.kind} {mark.name} learned from pages of {mark.client} that were "
                    "withdrawn",
                    place.root / "artifacts" / "withdrawals" / mark.client,
                    f"Curate {mark.client} anew and train it, if its owner wants that.",
                )
            )


def caches(place: Place) -> Iterator[Case]:
    """Caches that are not what was written; they are made again when they are needed."""
    for file in sorted((place.root / "cache").glob("**/manifest.json")):
        try:
            open_artifact(file.parent)
        except Damaged as wrong:
            yield Case(
                trouble=note("caches", wrong.what, wrong.where or file, f"Use: {REPAIR}"),
                mend=lambda folder=file.parent: remove(folder),
                done="It was removed, and is made again when it is needed.",
            )


def locks(place: Place) -> Iterator[Case]:
    """Locks: who holds them, and notes of holders that died."""
    for note_file in sorted(place.locks.glob("*.holder")):
        name = note_file.name.removesuffix(".holder")
        try:
            said = note_file.read_text(encoding="utf-8")[:200]
            holder = holder_of(place.locks, name, tidy=False)
        except (OSError, CopydeskError):
            continue  # it was just let go, or nothing can be locked here
        if holder is not None:
            yield Case(
                trouble=note("locks", f"{name} is in use by {holder}", note_file, "Nothing; wait.")
            )
        else:
            what = f"{name} was in use by {said}, which ended without letting go"
            yield Case(
                trouble=note("locks", what, note_file, f"Use: {REPAIR}"),
                mend=lambda name=name: _tidy(place, name),
                done="The note was removed.",
            )


def settings(place: Place) -> Iterator[Case]:
    """Paths and names in `copydesk.toml` that lead nowhere."""
    where, base = place.root / CONFIG_FILE, place.config.base
    absolute = Path(base).expanduser()
    if absolute.is_absolute() and not absolute.is_dir():
        yield Case(
            trouble=error(
                "settings",
                f"The base {base} is not there",
                where,
                "The workspace or the base was moved: write its new place, or a name, to `base`.",
            )
        )
    known = {row.name for row in place.catalogue.clients()}
    for client in sorted(place.config.client_settings.keys() - known):
        todo = f"Remove [client_settings.{client}]."
        yield Case(trouble=note("settings", f"There is no client {client}", where, todo))


def clocks(place: Place, now: datetime.datetime) -> Iterator[Case]:
    """Artifacts from the future: the clock was set back, or was wrong."""
    late = [
        entry for entry in place.catalogue.listed() if (at := _time(entry.created)) and at > now
    ]
    if late:
        yield Case(
            trouble=note(
                "clocks",
                f"{len(late)} artifacts are dated after now, the latest "
                f"{max(entry.created for entry in late)}",
                late[0].path,
                "The clock was wrong then, or is now. Nothing depends on it: order is by number.",
            )
        )


def _time(text: str) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    aware = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return aware - _A_DAY


def _tidy(place: Place, lock: str) -> None:
    holder_of(place.locks, lock)


def _make(place: Place) -> None:
    place.catalogue.keys.make()


def _erase(place: Place, client: str, *, again: bool = False) -> None:
    if again:
        try:
            place.catalogue.add_client(client)
        except CopydeskError as wrong:
            raise InvalidInput(f"The folders of {client} cannot be removed: {wrong}") from wrong
    erase_client(place, client, report=place.root / "report.html")
