"""The catalogue: which clients there are and which artifacts each has."""

import contextlib
import datetime
import os
import re
import shutil
import sqlite3
import time
import urllib.parse
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copydesk.errors import (
    AlreadyThere,
    Damaged,
    InUse,
    InvalidInput,
    UnknownName,
)
from copydesk.store._artifacts import LEFTOVER, Artifact, building, remove_leftovers
from copydesk.store._database import WAIT_SECONDS, database_errors, result_code
from copydesk.store._files import flush_to_disk, storage_errors
from copydesk.store._schema import SCHEMA, migrate
from copydesk.store._signatures import Keyring

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRow:
    """A client of the workspace."""

    name: str
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An artifact that the catalogue lists."""

    kind: str
    client: str
    number: int
    path: Path
    digest: str
    created: str


class Catalogue:
    """The workspace's SQLite file. Open it, use it, close it; safe between processes."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        """Open the catalogue in `root`, making it if it is missing.

        Args:
            root: the workspace.
            read_only: change nothing, not even an older schema; also where nothing may be written.

        Raises:
            Damaged: the file is not a catalogue, or was written by a newer Copydesk.
            NoRoom: the disk is full or may not be written.
        """
        self.root = root
        self.keys = Keyring(root)
        self._file = root / "copydesk.db"
        if read_only:
            self._db = _reading(self._file)
            self._identity = _identity(self._file)
            return
        with database_errors(self._file):
            self._db = sqlite3.connect(self._file, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            with database_errors(self._file):
                self._write_ahead()
                self._db.execute("PRAGMA foreign_keys = ON")
                self._db.execute("PRAGMA secure_delete = ON")
            self._migrate()
            self._identity = _identity(self._file)
        except BaseException:
            self._db.close()
            raise

    def replaced(self) -> bool:
        """Whether another file stands where the one that is open was, as after a lost catalogue was
        rebuilt; False while there is none."""
        now = _identity(self._file)
        return now is not None and now != self._identity

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add_client(self, name: str) -> None:
        """Add a client.

        Raises:
            InvalidInput: the name is not lower-case letters, digits and hyphens, 63 at most.
            AlreadyThere: there is one of that name.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot be a client's name",
                todo="Use lower-case letters, digits and hyphens, 63 at most, e.g. acme-garden.",
            )
        try:
            with self.writing():
                self._db.execute("INSERT INTO clients VALUES (?, ?)", (name, _now()))
        except sqlite3.IntegrityError as error:
            raise AlreadyThere(
                f"Client {name!r} exists already", todo="Choose another name, or use this one."
            ) from error

    def forget_artifacts(self, name: str) -> None:
        """Take a client's artifacts off the list; their folders are the caller's to remove."""
        self.client(name)
        with self.writing():
            self._db.execute("DELETE FROM artifacts WHERE client = ?", (name,))
        remove_leftovers(self.root / "artifacts" / ".new")

    def forget(self, entry: Entry) -> None:
        """Take one artifact off the list; its folder is the caller's to remove."""
        with self.writing():
            self._db.execute(
                "DELETE FROM artifacts WHERE kind = ? AND client = ? AND number = ?",
                (entry.kind, entry.client, entry.number),
            )

    def remove_client(self, name: str) -> None:
        """Forget a client and its artifacts; their folders are the caller's to remove."""
        self.client(name)
        with self.writing():
            self._db.execute("DELETE FROM clients WHERE name = ?", (name,))

    def compact(self) -> None:
        """Leave nothing of deleted rows in the file or its log.

        Raises:
            InUse: another process reads the catalogue; what it needs cannot be dropped yet.
        """
        with database_errors(self._file):
            self._db.execute("VACUUM")
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise InUse(
                "The log of the catalogue still holds what was deleted: another process reads it",
                where=str(self._file),
                todo="Wait until it ends, then run the same command again.",
            )

    def relist(self, entry: Entry) -> None:
        """List an artifact that is in place, and its client where the catalogue lost it.

        Raises:
            AlreadyThere: there is a row of that number.
        """
        try:
            with self.writing():
                self._db.execute(
                    "INSERT OR IGNORE INTO clients VALUES (?, ?)", (entry.client, entry.created)
                )
                self._insert(entry)
        except sqlite3.IntegrityError as error:
            raise AlreadyThere(f"{entry.path} is listed already") from error

    def clients(self) -> tuple[ClientRow, ...]:
        """All clients, by name."""
        rows = self._db.execute("SELECT name, created FROM clients ORDER BY name")
        return tuple(ClientRow(name=name, created=created) for name, created in rows)

    def client(self, name: str) -> ClientRow:
        """One client.

        Raises:
            UnknownName: there is none of that name; the message lists those there are.
        """
        known = self.clients()
        for row in known:
            if row.name == name:
                return row
        names = ", ".join(row.name for row in known) or "none yet"
        raise UnknownName(
            f"There is no client {name!r} here",
            todo=f"Known clients: {names}. Add one with: copydesk client add NAME",
        )

    def make(
        self,
        *,
        kind: str,
        client: str,
        inputs: Mapping[str, str],
        fill: Callable[[Artifact], None],
    ) -> Entry:
        """Build an artifact with `fill`, then number, place and list it.

        Args:
            kind: the shelf, e.g. `versions`.
            client: whose it is.
            inputs: digests of what it is made from.
            fill: writes into `artifact.path` and may add to `artifact.facts`.

        Raises:
            NoRoom: the disk is full or may not be written; nothing is listed.
        """
        waiting = self.root / "artifacts" / ".new"
        remove_leftovers(waiting)
        target = waiting / f"{LEFTOVER}{os.getpid()}-{uuid.uuid4().hex}"
        try:
            with building(target, kind=kind, inputs=inputs, flush=False) as artifact:
                fill(artifact)
            return self.add(artifact, kind=kind, client=client)
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def add(self, artifact: Artifact, *, kind: str, client: str) -> Entry:
        """Number a finished artifact, sign it for its place, move it there and list it.

        The folder moves to `artifacts/KIND/CLIENT/NUMBER` before its row is written, so a row
        never points at something that is not whole. Where the row cannot be written the folder
        moves back.

        Raises:
            UnknownName: no such client; the artifact stays where it is.
        """
        origin = artifact.path
        try:
            with self.writing():
                self.client(client)
                target = self._free_place(kind, client)
                with storage_errors(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    created = self.keys.seal(origin, place=target)
                    flush_to_disk(origin)
                    shutil.move(origin, target)
                    flush_to_disk(target.parent)
                artifact.path = target
                entry = Entry(
                    kind=kind,
                    client=client,
                    number=int(target.name),
                    path=target,
                    digest=artifact.digest,
                    created=created,
                )
                self._insert(entry)
        except BaseException:
            if artifact.path != origin and not self._is_listed(artifact.path):
                shutil.move(artifact.path, origin)
                artifact.path = origin
            raise
        return entry

    def _free_place(self, kind: str, client: str) -> Path:
        shelf = self.root / "artifacts" / kind / client
        row = self._db.execute(
            "SELECT coalesce(max(number), 0) FROM artifacts WHERE kind = ? AND client = ?",
            (kind, client),
        ).fetchone()
        number = int(row[0]) + 1
        while (shelf / str(number)).exists():  # moved there by a process that died before commit
            number += 1
        return shelf / str(number)

    def _insert(self, entry: Entry) -> None:
        self._db.execute(
            "INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?)",
            (
                entry.kind,
                entry.client,
                entry.number,
                entry.path.relative_to(self.root).as_posix(),
                entry.digest,
                entry.created,
            ),
        )

    def _is_listed(self, path: Path) -> bool:
        """Whether a row names `path`; an interrupt may have come after the row was committed."""
        try:
            found = self._db.execute(
                "SELECT 1 FROM artifacts WHERE path = ?", (path.relative_to(self.root).as_posix(),)
            ).fetchone()
        except sqlite3.Error:
            return True  # not known: a folder that no row names does no harm, a missing one does
        return found is not None

    def entries(self, kind: str, client: str) -> tuple[Entry, ...]:
        """A client's artifacts of one kind, oldest first."""
        rows = self._db.execute(
            "SELECT number, path, digest, created FROM artifacts"
            " WHERE kind = ? AND client = ? ORDER BY number",
            (kind, client),
        )
        return tuple(
            Entry(
                kind=kind,
                client=client,
                number=number,
                path=self.root / path,
                digest=digest,
                created=created,
            )
            for number, path, digest, created in rows
        )

    def listed(self) -> tuple[Entry, ...]:
        """All artifacts, by kind, client and number."""
        rows = self.rows(
            "SELECT kind, client, number, path, digest, created FROM artifacts"
            " ORDER BY kind, client, number"
        )
        return tuple(
            Entry(
                kind=kind,
                client=client,
                number=number,
                path=self.root / path,
                digest=digest,
                created=created,
            )
            for kind, client, number, path, digest, created in rows
        )

    def latest(self, kind: str, client: str) -> Entry | None:
        """A client's newest artifact of one kind, if it has any."""
        found = self.entries(kind, client)
        return found[-1] if found else None

    def rows(self, query: str, *values: str | float | None) -> list[tuple[Any, ...]]:
        """What a query finds, for the rooms that keep tables of their own here."""
        with database_errors(self._file):
            return self._db.execute(query, values).fetchall()

    def _write_ahead(self) -> None:
        """Switch the file to write-ahead logging, so that readers and a writer do not wait.

        SQLite does not wait itself when another process switches at the same moment.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if result_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _migrate(self) -> None:
        with self.writing():
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA:
                raise _newer(version, self._file)
            if version < SCHEMA:
                migrate(self._db, version)

    @contextlib.contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """Change tables in one transaction, which other processes wait for.

        It is undone where the block raises. A broken constraint is `sqlite3.IntegrityError`.

        Raises:
            NoRoom: the disk is full or may not be written.
            InUse: another process keeps the catalogue busy.
        """
        with database_errors(self._file):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite rolls back by itself where the disk is full
                    self._db.execute("ROLLBACK")
                raise


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file a path leads to: device and inode; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reading(file: Path) -> sqlite3.Connection:
    """A connection that only reads. Where SQLite cannot lock, it reads the file as it stands."""
    with database_errors(file):
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            address = f"file:{urllib.parse.quote(str(file))}?{mode}"
            db = sqlite3.connect(address, timeout=WAIT_SECONDS, isolation_level=None, uri=True)
            try:
                version = int(db.execute("PRAGMA user_version").fetchone()[0])
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                db.close()
                if mode != "mode=ro":
                    raise
            except BaseException:
                db.close()
                raise
            else:
                if version > SCHEMA:
                    db.close()
                    raise _newer(version, file)
                return db
    raise AssertionError("the second mode returns or raises")


def _newer(version: int, file: Path) -> Damaged:
    return Damaged(
        f"The catalogue has schema {version}; this Copydesk knows up to {SCHEMA}",
        where=str(file),
        todo="Upgrade Copydesk.",
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
