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

_GATES_AND_PROMOTIONS = """
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client TEXT NOT NULL REFERENCES clients (name) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    base TEXT NOT NULL,
    against INTEGER,
    thresholds TEXT NOT NULL,
    gates TEXT NOT NULL,
    software TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX evaluations_of_versions ON evaluations (client, number, id);
CREATE TABLE promotions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client TEXT NOT NULL REFERENCES clients (name) ON DELETE CASCADE,
    action TEXT NOT NULL,
    number INTEGER NOT NULL,
    previous INTEGER,
    share REAL,
    evaluation INTEGER,
    forced INTEGER NOT NULL,
    reason TEXT NOT NULL,
    by TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;
CREATE INDEX promotions_of_clients ON promotions (client, id);
CREATE TABLE live (
    client TEXT PRIMARY KEY REFERENCES clients (name) ON DELETE CASCADE,
    number INTEGER NOT NULL
) STRICT;
CREATE TABLE canaries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client TEXT NOT NULL UNIQUE REFERENCES clients (name) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    share REAL NOT NULL,
    requests INTEGER NOT NULL,
    ratio REAL NOT NULL,
    alpha REAL NOT NULL
) STRICT;
CREATE TABLE outcomes (
    client TEXT NOT NULL REFERENCES clients (name) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    canary INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    findings INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    PRIMARY KEY (client, number, canary)
) STRICT
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

_STEPS: tuple[str, ...] = (_CLIENTS_AND_ARTIFACTS, _GATES_AND_PROMOTIONS, _KEYS)
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
