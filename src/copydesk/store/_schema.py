"""The catalogue's tables, as the steps that made them."""

import sqlite3

_CLIENTS_AND_ARTIFACTS = """
CREATE TABLE clients (
    name TEXT PRIMARY KEY,
    created TEXT NOT NULL
) STRICT;
CREATE TABLE artifacts (
    kind TEXT NOT NULL,
    client TEXT NOT NULL REFERENCES clients (name) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (kind, client, number)
) STRICT;
"""

_KEYS = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    hash BLOB NOT NULL,
    every_client INTEGER NOT NULL,
    base INTEGER NOT NULL,
    admin INTEGER NOT NULL,
    rate INTEGER,
    quota INTEGER,
    created TEXT NOT NULL,
    revoked TEXT
) STRICT;
CREATE TABLE key_clients (
    key TEXT NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    client TEXT NOT NULL REFERENCES clients (name) ON DELETE CASCADE,
    PRIMARY KEY (key, client)
) STRICT;
CREATE TABLE key_use (
    key TEXT NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    month TEXT NOT NULL,
    requests INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (key, month)
) STRICT;
"""

_STEPS: tuple[str, ...] = (_CLIENTS_AND_ARTIFACTS, _KEYS)
"""Step n brings a catalogue of schema n to schema n + 1. Steps are added, never changed."""

SCHEMA = len(_STEPS)
"""The schema that this Copydesk writes."""


def migrate(db: sqlite3.Connection, found: int) -> None:
    """Bring the tables from schema `found` (0: none) to `SCHEMA`; the caller holds a transaction.

    Statements are run one by one, because `executescript` would end the transaction.
    """
    for step in _STEPS[found:]:
        for statement in step.split(";"):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA}")
