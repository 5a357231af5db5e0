"""The stored conversations: one SQLite file.

The rollback journal is used and not the write-ahead log: writes are few and small, and the file can then be
read in a folder without write permission and on network file systems. Each change is one transaction, so that
a process that is killed leaves the state before or after it (https://www.sqlite.org/atomiccommit.html).
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from zigai_cli.conversation.turns import text_of
from zigai_cli.failure import InputError
from zigai_cli.history import schema
from zigai_cli.history.stored import About, Stored, title_of

PATIENCE = 5.0
"""Seconds to wait for another process that is writing."""

_COLUMNS = """\
    SELECT id, title, model, descriptor, system, settings, created, updated, revision,
           (SELECT count(*) FROM messages WHERE conversation = conversations.id)
    FROM conversations"""


class StoreError(InputError):
    """The store cannot be read or written. Names the file and what to do."""


class ChangedError(Exception):
    """The conversation was changed or deleted by another process."""


class Store:
    """The stored conversations. Every method raises `StoreError` if the file cannot be used.

    >>> with Store(data_folder() / "history.sqlite") as store:     # doctest: +SKIP
    ...     print(store.latest().title)
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        with self._explained():
            if create:
                _make(path)
            if not stat.S_ISREG(path.stat().st_mode):
                raise StoreError(f"{path}: not a regular file")
            self._connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            try:
                self._connection.execute("PRAGMA foreign_keys = ON")
                self._connection.execute("PRAGMA secure_delete = ON")  # deleted text leaves the file
                schema.prepare(self._connection)
            except BaseException:
                self._connection.close()
                raise

    @classmethod
    def empty(cls) -> Store:
        """A store in memory, for a user who has none yet."""
        store = cls.__new__(cls)
        store.path = Path(":memory:")
        store._connection = sqlite3.connect(":memory:", isolation_level=None)
        schema.prepare(store._connection)
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, about: About, messages: Sequence[Mapping[str, Any]], title: str | None = None) -> Stored:
        """Store a new conversation and return it, without its messages.

        Without a title it is the first line of the first message.
        """
        now = time.time()
        with self.writing() as connection:
            number = connection.execute(
                "INSERT INTO conversations"
                " (title, model, descriptor, system, settings, created, updated, revision)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (_plain(title or title_of(messages[0])), *_values(about), now, now),
            ).lastrowid
            assert number is not None  # an INSERT has been done
            self._append(number, 0, messages, now)
            return self._one(number)

    def update(self, old: Stored, about: About, place: int, messages: Sequence[Mapping[str, Any]]) -> Stored:
        """Replace the messages from `place` on, and what holds for the whole conversation.

        Returns the conversation without its messages.
        Raises `ChangedError` if the conversation is not the revision `old`.
        """
        now = time.time()
        with self.writing() as connection:
            changed = connection.execute(
                "UPDATE conversations SET model = ?, descriptor = ?, system = ?, settings = ?, updated = ?,"
                " revision = revision + 1 WHERE id = ? AND revision = ?",
                (*_values(about), now, old.id, old.revision),
            ).rowcount
            if not changed:
                raise ChangedError
            connection.execute("DELETE FROM messages WHERE conversation = ? AND place >= ?", (old.id, place))
            self._append(old.id, place, messages, now)
            return self._one(old.id)

    def count(self, number: int, place: int, counts: Mapping[str, Any]) -> None:
        """Store the statistics of the reply at `place`."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE messages SET counts = ? WHERE conversation = ? AND place = ? AND role = 'assistant'",
                (json.dumps(counts), number, place),
            )

    def rename(self, number: int, title: str) -> None:
        """Give a conversation another title. Raises `InputError` if another one has it, and for `last`."""
        if title == "last":
            raise InputError("'last' names the conversation that was held last: choose another title")
        with self.writing() as connection:
            other = connection.execute(
                "SELECT id FROM conversations WHERE title = ? AND id != ?", (_plain(title), number)
            ).fetchone()
            if other is not None:
                raise InputError(f"conversation {other[0]} has the title {title!r}: choose another")
            connection.execute("UPDATE conversations SET title = ? WHERE id = ?", (_plain(title), number))

    def remove(self, numbers: Sequence[int] | None) -> int:
        """Delete conversations, all of them for None. Returns how many there were."""
        with self.writing() as connection:
            if numbers is None:
                removed = connection.execute("DELETE FROM conversations").rowcount
            else:
                removed = sum(
                    connection.execute("DELETE FROM conversations WHERE id = ?", (number,)).rowcount
                    for number in numbers
                )
        return removed

    def remove_unchanged(self, old: Stored) -> None:
        """Delete a conversation. Raises `ChangedError` if it is not the revision `old`."""
        with self.writing() as connection:
            removed = connection.execute(
                "DELETE FROM conversations WHERE id = ? AND revision = ?", (old.id, old.revision)
            ).rowcount
            if not removed:
                raise ChangedError

    def entries(self, limit: int | None = None) -> list[Stored]:
        """The conversations without their messages, the one that was changed last first."""
        with self._explained():
            rows = self._connection.execute(
                f"{_COLUMNS} ORDER BY updated DESC, id DESC LIMIT ?", (-1 if limit is None else limit,)
            )
            return [_stored(row) for row in rows]

    def get(self, number: int) -> Stored | None:
        """The conversation of this number with its messages, or None."""
        with self._explained():
            row = self._connection.execute(f"{_COLUMNS} WHERE id = ?", (number,)).fetchone()
            return None if row is None else self._with_messages(row)

    def find(self, name: str) -> Stored:
        """The conversation of this title or number, or for `last` the one that was changed last.

        A title goes before a number. Raises `InputError` if there is none.
        """
        with self._explained():
            if name != "last":
                row = self._connection.execute(
                    f"{_COLUMNS} WHERE title = ? ORDER BY updated DESC, id DESC", (_plain(name),)
                ).fetchone()
                if row is None and name.isascii() and name.isdecimal() and len(name) < 18:
                    row = self._connection.execute(f"{_COLUMNS} WHERE id = ?", (int(name),)).fetchone()
            else:
                row = self._connection.execute(
                    f"{_COLUMNS} ORDER BY updated DESC, id DESC LIMIT 1"
                ).fetchone()
            if row is not None:
                return self._with_messages(row)
        if name == "last":
            raise InputError("no conversation is stored yet: zig-ai chat stores each one")
        raise InputError(f"no stored conversation {name!r}: zig-ai history list shows them")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at the end, or undone if an exception leaves the block."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries."""
        with self._explained():
            yield self._connection

    def _append(self, number: int, place: int, messages: Sequence[Mapping[str, Any]], now: float) -> None:
        self._connection.executemany(
            "INSERT INTO messages (conversation, place, role, content, fields, time)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [(number, place + index, *_parts(message), now) for index, message in enumerate(messages)],
        )

    def _one(self, number: int) -> Stored:
        return _stored(self._connection.execute(f"{_COLUMNS} WHERE id = ?", (number,)).fetchone())

    def _with_messages(self, row: tuple[Any, ...]) -> Stored:
        stored = _stored(row)
        found = self._connection.execute(
            "SELECT role, content, fields, counts FROM messages WHERE conversation = ? ORDER BY place",
            (stored.id,),
        )
        for role, content, fields, counts in found:
            stored.messages.append({"role": role, "content": content, **json.loads(fields)})
            stored.counts.append(None if counts is None else json.loads(counts))
        return stored

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of SQLite and of the system into `StoreError`."""
        try:
            yield
        except schema.SchemaError as error:
            raise StoreError(f"{self.path}: {error}") from error
        except OSError as error:
            raise StoreError(f"{error.filename or self.path}: {error.strerror or error}") from error
        except sqlite3.OperationalError as error:
            busy = f"another process has locked it for more than {PATIENCE:g} s"
            gone = getattr(error, "sqlite_errorname", "") == "SQLITE_READONLY_DBMOVED"
            what = "it was moved or deleted" if gone else busy if "locked" in str(error) else str(error)
            raise StoreError(f"{self.path}: {what}") from error
        except (sqlite3.Error, ValueError, TypeError) as error:  # a damaged file holds any value
            raise StoreError(
                f"{self.path}: the file is damaged ({error}): move it away to begin a new history"
            ) from error


def _make(path: Path) -> None:
    """Make the file and its folder, readable by the user alone, if they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _values(about: About) -> tuple[str | None, str, str | None, str]:
    model, system = (None if text is None else _plain(text) for text in (about.model, about.system))
    return model, _plain(about.descriptor), system, json.dumps(dict(about.settings))


def _parts(message: Mapping[str, Any]) -> tuple[str, str, str]:
    """A message as its role, its text, and JSON of every field that these two do not hold exactly."""
    role, text = str(message["role"]), _plain(text_of(message))
    fields = {"content": None, **{name: value for name, value in message.items() if name != "role"}}
    if fields.get("content") == text:
        del fields["content"]
    return _plain(role), text, json.dumps(fields if role == _plain(role) else {**fields, "role": role})


def _plain(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _stored(row: tuple[Any, ...]) -> Stored:
    number, title, model, descriptor, system, settings, created, updated, revision, length = row
    about = About(model, descriptor, system, json.loads(settings))
    return Stored(number, title, about, created, updated, revision, length)
