"""Keys of the server: who may ask for which clients, how often and for how much."""

import datetime
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from copydesk.errors import InvalidInput, UnknownName
from copydesk.store import Catalogue, replace_bytes

_SHAPE = re.compile(r"cd-([0-9a-f]{12})-([0-9a-f]{64})")
_MARKER = "keys/server-needs-keys"
_MARKER_TEXT = (
    b"Keys of this workspace's server were made: from then on nobody is answered without one.\n"
    b"This file keeps it so where the catalogue, which holds them, is lost.\n"
)
_NOBODY = bytes(32)
"""Stands for the hash of a key that is not there."""
_LABEL_LENGTH = 100
_COLUMNS = "id, label, every_client, base, admin, rate, quota, created, revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a key allows. Its secret is not here, nor anywhere else."""

    id: str
    """Names the key to its keeper; it is the part of the key that is not secret."""
    label: str
    clients: tuple[str, ...]
    """Whose voices it may use."""
    every_client: bool
    """Also those that are added later."""
    base: bool
    """Whether it may use the base without an adapter."""
    admin: bool
    """Whether the admin port answers it."""
    rate: int | None
    """Requests a minute."""
    quota: int | None
    """Tokens a calendar month (UTC), of prompts and answers together."""
    created: str
    revoked: str | None
    """When it was revoked."""
    tokens: int
    """That were used in this month."""
    requests: int
    """That were made in this month."""

    def allows(self, client: str) -> bool:
        """Whether it may use a client's voice."""
        return self.every_client or client in self.clients


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A key with its secret, which is shown this once."""

    key: Key
    secret: str
    """What a program sends: `Authorization: Bearer SECRET`."""


class ServerKeys:
    """The keys of a workspace's server. (`Catalogue.keys` are others: those that sign.)

    A key is `cd-ID-SECRET`. The catalogue holds the SHA-256 of its 256 random bits: a slow hash is
    for secrets that can be guessed, and these cannot. The row is found by the ID, and the hashes
    are compared in constant time, so that a wrong key learns nothing from how long it took.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def add(
        self,
        *,
        clients: Sequence[str] = (),
        every_client: bool = False,
        base: bool = False,
        admin: bool = False,
        rate: int | None = None,
        quota: int | None = None,
        label: str = "",
    ) -> IssuedKey:
        """Make a key.

        Args:
            clients: whose voices it may use.
            every_client: all clients, also those that come later, in place of `clients`.
            base: the base without an adapter too.
            admin: the admin port answers it.
            rate: requests a minute; None is any number.
            quota: tokens a calendar month (UTC); None is any number.
            label: a note for its keeper.

        Raises:
            UnknownName: a client is not there.
            InvalidInput: the key would allow nothing, or a limit is not a positive number.
        """
        if not (clients or every_client or base or admin):
            raise InvalidInput(
                "The key would allow nothing",
                todo="Name its clients, or use --all-clients, --base or --admin.",
            )
        if clients and every_client:
            raise InvalidInput("Every client is allowed, and some are named", todo="Use one.")
        if rate is not None and not 0 < rate < 2**31:
            raise InvalidInput("The rate is not positive", todo="Give requests a minute, e.g. 60.")
        if quota is not None and not 0 < quota < 2**62:
            raise InvalidInput(
                "The quota is not positive", todo="Give tokens a month, e.g. 1000000."
            )
        if len(label) > _LABEL_LENGTH or not label.isprintable():
            raise InvalidInput(
                "The label cannot be kept",
                todo=f"Use at most {_LABEL_LENGTH} printable characters.",
            )
        for client in clients:
            self._catalogue.client(client)
        ident, secret = secrets.token_hex(6), secrets.token_hex(32)
        row = (ident, label, _hashed(secret), every_client, base, admin, rate, quota, _now())
        self.remember()
        with self._catalogue.writing() as db:
            db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", row)
            db.executemany(
                "INSERT INTO key_clients VALUES (?, ?)",
                [(ident, client) for client in sorted(set(clients))],
            )
        return IssuedKey(key=self.get(ident), secret=f"cd-{ident}-{secret}")

    def all(self) -> tuple[Key, ...]:
        """All keys, in the order in which they were made, those revoked too."""
        rows = self._catalogue.rows(f"SELECT {_COLUMNS} FROM keys ORDER BY rowid")
        return tuple(self._key(row) for row in rows)

    def ever_made(self) -> bool:
        """Whether any key was made, revoked since or not: from then on nobody is answered without.

        Also where the catalogue that held them was lost: a server that needed keys does not stand
        open because a file is gone.
        """
        return self.listed() or self.remembered()

    def listed(self) -> bool:
        """Whether the catalogue holds any key, revoked or not."""
        return bool(self._catalogue.rows("SELECT 1 FROM keys LIMIT 1"))

    def usable(self) -> bool:
        """Whether there is a key that is not revoked."""
        return bool(self._catalogue.rows("SELECT 1 FROM keys WHERE revoked IS NULL LIMIT 1"))

    def remembered(self) -> bool:
        """Whether it is written down beside the catalogue that keys were made."""
        return (self._catalogue.root / _MARKER).exists()

    def remember(self) -> None:
        """Write it down there.

        Raises:
            NoRoom: the disk is full or may not be written.
        """
        if not self.remembered():
            replace_bytes(self._catalogue.root / _MARKER, _MARKER_TEXT)

    def get(self, ident: str) -> Key:
        """One key by its id; the whole key will do too.

        Raises:
            UnknownName: there is none.
        """
        ident = _ident(ident)
        rows = self._catalogue.rows(f"SELECT {_COLUMNS} FROM keys WHERE id = ?", ident)
        if not rows:
            raise UnknownName(f"There is no key {ident!r}", todo="See: copydesk key list")
        return self._key(rows[0])

    def rotate(self, ident: str) -> IssuedKey:
        """Give a key a new secret; the old one is worth nothing from now on.

        Raises:
            UnknownName: there is no such key.
            InvalidInput: it is revoked.
        """
        key = self.get(ident)
        secret = secrets.token_hex(32)
        with self._catalogue.writing() as db:
            done = db.execute(
                "UPDATE keys SET hash = ? WHERE id = ? AND revoked IS NULL",
                (_hashed(secret), key.id),
            )
            if done.rowcount != 1:
                raise InvalidInput(f"Key {key.id} is revoked", todo="Add a new one.")
        return IssuedKey(key=key, secret=f"cd-{key.id}-{secret}")

    def revoke(self, ident: str) -> Key:
        """End a key. The next request with it is refused.

        Raises:
            UnknownName: there is no such key.
        """
        key = self.get(ident)
        with self._catalogue.writing() as db:
            db.execute(
                "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (_now(), key.id)
            )
        return self.get(key.id)

    def find(self, secret: str) -> Key | None:
        """The key that `cd-ID-SECRET` is, unless it is wrong or revoked."""
        parts = _SHAPE.fullmatch(secret)
        ident, own = parts.groups() if parts else ("", "")
        rows = self._catalogue.rows(f"SELECT {_COLUMNS}, hash FROM keys WHERE id = ?", ident)
        held: bytes = rows[0][-1] if rows else _NOBODY
        if not hmac.compare_digest(_hashed(own), held):
            return None
        key = self._key(rows[0][:-1])
        return None if key.revoked else key

    def count(self, ident: str, *, tokens: int, requests: int = 1) -> None:
        """Add requests and their tokens to what a key has used in this month."""
        with self._catalogue.writing() as db:
            db.execute(
                "INSERT INTO key_use SELECT id, ?, ?, ? FROM keys WHERE id = ?"
                " ON CONFLICT (key, month) DO UPDATE SET"
                " requests = requests + excluded.requests, tokens = tokens + excluded.tokens",
                (_month(), requests, tokens, ident),
            )

    def _key(self, row: tuple[Any, ...]) -> Key:
        ident, label, every_client, base, admin, rate, quota, created, revoked = row
        clients = self._catalogue.rows(
            "SELECT client FROM key_clients WHERE key = ? ORDER BY client", ident
        )
        used = self._catalogue.rows(
            "SELECT requests, tokens FROM key_use WHERE key = ? AND month = ?", ident, _month()
        )
        requests, tokens = used[0] if used else (0, 0)
        return Key(
            id=ident,
            label=label,
            clients=tuple(client for (client,) in clients),
            every_client=bool(every_client),
            base=bool(base),
            admin=bool(admin),
            rate=rate,
            quota=quota,
            created=created,
            revoked=revoked,
            tokens=tokens,
            requests=requests,
        )


def _ident(text: str) -> str:
    parts = _SHAPE.fullmatch(text)
    return parts.group(1) if parts else text


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _month() -> str:
    return _now()[:7]
