"""The tables of the stored conversations, and the migrations between their versions."""

from __future__ import annotations

import sqlite3

APPLICATION = 0x7A696741
"""SQLite's `application_id` of the file: "zigA"."""

_FIRST = """\
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    model TEXT,
    descriptor TEXT NOT NULL,
    system TEXT,
    settings TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    revision INTEGER NOT NULL
);
CREATE INDEX conversations_by_time ON conversations (updated);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    fields TEXT NOT NULL,
    counts TEXT,
    time REAL NOT NULL,
    UNIQUE (conversation, place)
);
"""

MIGRATIONS = (_FIRST,)
"""The statements that lead from each version to the next. To change the tables, add an entry."""
VERSION = len(MIGRATIONS)


class SchemaError(Exception):
    """The file is not a store of conversations, or of a newer version. The text says which."""


def prepare(connection: sqlite3.Connection) -> None:
    """Bring the tables to `VERSION`, each step in a transaction.

    Raises `SchemaError` for a file of another kind or of a newer version, and `sqlite3.Error`.
    """
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: another process may have migrated the file since.
        for number in range(_version(connection), VERSION):
            for statement in filter(str.strip, MIGRATIONS[number].split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [application] = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION and (
        version or connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    ):
        raise SchemaError("it is a database of another program")
    if version > VERSION:
        raise SchemaError(f"a newer zig-ai wrote it (version {version}, above {VERSION}): update zigai-cli")
    return int(version)
