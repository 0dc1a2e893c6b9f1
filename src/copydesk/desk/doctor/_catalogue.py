"""The catalogue's file: whether it is there and whole, and what can be saved of one that is not."""

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from copydesk.desk.doctor._troubles import REPAIR, Case, Trouble, error, note
from copydesk.store import Catalogue

CHECK = "catalogue"
_FILE = "copydesk.db"
_LOST = (
    "Clients and artifacts are listed again from their folders and signed manifests. What is in no "
    "manifest (promotions, evaluations, the server's keys) is saved as far as it can be read."
)


def catalogue_file(root: Path) -> Iterator[Case]:
    """A catalogue that is missing or cannot be used, before it is opened for anything else."""
    file = root / _FILE
    if not file.is_file():
        yield Case(
            trouble=error(CHECK, "The catalogue is missing", file, f"{_LOST} Use: {REPAIR}"),
            mend=lambda: Catalogue(root).close(),
            done="A new one was made. Promote again what is to speak: copydesk promote "
            "CLIENT@VERSION",
        )
    elif (said := _integrity(file)) is not None:
        trouble = error(CHECK, f"The catalogue is damaged: {said}", file, f"{_LOST} Use: {REPAIR}")
        yield Case(
            trouble=trouble,
            mend=lambda: _put_aside(root),
            done=f"It was put aside as {_FILE}.damaged-N, and a new one made.",
        )


def foreign_keys(catalogue: Catalogue) -> Iterator[Case]:
    """Rows that name a client that is not there."""
    broken = catalogue.rows("PRAGMA foreign_key_check")
    for table in sorted({str(row[0]) for row in broken}):
        rowids = [row[1] for row in broken if row[0] == table]

        def mend(table: str = table, rowids: list[int] = rowids) -> None:
            with catalogue.writing() as db:
                db.executemany(f'DELETE FROM "{table}" WHERE rowid = ?', [(n,) for n in rowids])

        yield Case(
            trouble=error(
                CHECK,
                f"{len(rowids)} rows of {table} name a client that is not there",
                catalogue.root / _FILE,
                f"Take them off: {REPAIR}",
            ),
            mend=mend,
            done="They were taken off; whole artifacts are listed again.",
        )


def old_schema(catalogue: Catalogue) -> Trouble | None:
    """A catalogue from before some tables were there, which the next command brings up to date."""
    tables = {str(row[0]) for row in catalogue.rows("SELECT name FROM sqlite_master")}
    if {"live", "keys"} <= tables:
        return None
    return note(
        CHECK,
        "The catalogue is of an older schema",
        catalogue.root / _FILE,
        "Any other command brings it up to date.",
    )


def saved_rows(catalogue: Catalogue) -> None:
    """Copy what can be read of catalogues that were put aside, for rows that are not there yet.

    Artifacts are not copied: those that are whole are listed from their folders.
    """
    for file in sorted(catalogue.root.glob(f"{_FILE}.damaged-*")):
        address = f"file:{urllib.parse.quote(str(file))}?mode=ro&immutable=1"
        with (
            contextlib.suppress(sqlite3.DatabaseError),
            contextlib.closing(sqlite3.connect(address, uri=True)) as old,
        ):
            _copy_tables(old, catalogue)


def _copy_tables(old: sqlite3.Connection, catalogue: Catalogue) -> None:
    tables = [
        str(row[0])
        for row in catalogue.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " ORDER BY name != 'clients', rowid"
        )
    ]
    for table in tables:
        if table == "artifacts":
            continue
        count = len(catalogue.rows(f'PRAGMA table_info("{table}")'))
        marks = ", ".join("?" * count)
        with contextlib.suppress(sqlite3.DatabaseError):
            for row in old.execute(f'SELECT * FROM "{table}"'):
                # One that breaks a rule of the tables, or is cut short, is left where it is.
                with contextlib.suppress(sqlite3.IntegrityError), catalogue.writing() as db:
                    if len(row) == count:
                        db.execute(f'INSERT OR IGNORE INTO "{table}" VALUES ({marks})', row)


def _integrity(file: Path) -> str | None:
    """What SQLite says is wrong with a file; None where it is sound."""
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        address = f"file:{urllib.parse.quote(str(file))}?{mode}"
        try:
            with contextlib.closing(sqlite3.connect(address, timeout=30, uri=True)) as db:
                found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)")]
        except sqlite3.OperationalError as failed:
            said = str(failed)  # it cannot lock where nothing may be written: read it as it stands
        except sqlite3.DatabaseError as failed:
            return str(failed)
        else:
            return None if found == ["ok"] else "; ".join(found[:3])
    return said


def _put_aside(root: Path) -> None:
    number = 1
    while (root / f"{_FILE}.damaged-{number}").exists():
        number += 1
    for ending in ("-wal", "-shm", ""):
        file = root / f"{_FILE}{ending}"
        if file.exists():
            file.rename(root / f"{_FILE}.damaged-{number}{ending}")
    Catalogue(root).close()
