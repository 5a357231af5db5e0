"""Full-text search in stored conversations.

A message is found if it holds every word of the query, as a part of a word, too, whatever the case. SQLite's
FTS5 index of trigrams (https://www.sqlite.org/fts5.html#the_trigram_tokenizer) is used where it is available;
otherwise, and for words of fewer than three characters, every message is read. Both find the same.
The index is brought up to date by a search and not by a chat: a chat writes less, and a Python whose SQLite
has no FTS5 can write the same file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from zigai_cli.failure import InputError
from zigai_cli.history.store import Store, StoreError

AROUND = 40
"""Characters of a message shown on each side of the first word that was found."""


@dataclass(frozen=True)
class Found:
    """A message, or a title, that holds the words."""

    conversation: int
    title: str
    role: str
    """The role of the message, or `title`."""
    excerpt: str
    updated: float


def search(store: Store, query: str, limit: int | None = None) -> list[Found]:
    """Messages and titles that hold every word of the query, the conversation changed last first.

    Raises `InputError` for a query without a word, and `StoreError`.
    """
    words = [word.casefold() for word in query.split()]
    if not words:
        raise InputError("nothing to search for: give at least one word")
    indexed = min(map(len, words)) >= 3 and bring_up_to_date(store)
    with store.reading() as connection:
        connection.create_function("holds", 1, lambda text: holds(text, words), deterministic=True)
        narrowed = (
            " AND messages.id IN (SELECT rowid FROM message_index WHERE message_index MATCH :phrases)"
            if indexed
            else ""
        )
        phrases = " AND ".join('"' + word.replace('"', '""') + '"' for word in words)
        rows = connection.execute(
            "SELECT conversations.id, title, role, content, updated, place FROM messages"
            f" JOIN conversations ON conversations.id = conversation WHERE holds(content){narrowed}"
            " UNION ALL SELECT id, title, 'title', title, updated, -1 FROM conversations WHERE holds(title)"
            " ORDER BY 5 DESC, 1 DESC, 6 LIMIT :limit",
            {"phrases": phrases, "limit": -1 if limit is None else limit},
        )
        return [
            Found(number, title, role, excerpt(content, words), updated)
            for number, title, role, content, updated, _ in rows
        ]


def bring_up_to_date(store: Store) -> bool:
    """Make the index hold exactly the messages. False if there is no FTS5 or the file is read-only."""
    try:
        with store.writing() as connection:
            connection.create_function("fold", 1, str.casefold, deterministic=True)
            connection.execute(
                "CREATE VIRTUAL TABLE IF NOT EXISTS message_index USING fts5(content, tokenize='trigram')"
            )
            connection.execute(
                "DELETE FROM message_index WHERE rowid IN"
                " (SELECT rowid FROM message_index EXCEPT SELECT id FROM messages)"
            )
            connection.execute(
                "INSERT INTO message_index (rowid, content) SELECT id, fold(content) FROM messages"
                " WHERE id IN (SELECT id FROM messages EXCEPT SELECT rowid FROM message_index)"
            )
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.OperationalError):
            return False
        raise
    return True


def forget_removed(store: Store) -> None:
    """Remove the text of deleted messages from the index, if there is one."""
    with store.reading() as connection:
        made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_index'").fetchone()
    if made and bring_up_to_date(store):
        with store.writing() as connection:  # deleted entries stay in the index until it is merged
            connection.execute("INSERT INTO message_index (message_index) VALUES ('optimize')")


def holds(text: str, words: Sequence[str]) -> bool:
    """True if the text holds each of the words, which are in lower case."""
    folded = text.casefold()
    return all(word in folded for word in words)


def excerpt(text: str, words: Sequence[str]) -> str:
    """A line of the text around the first of the words."""
    line = " ".join(text.split())
    folded = line.casefold()
    at = min((place for word in words if (place := folded.find(word)) >= 0), default=0)
    begin, end = max(0, at - AROUND), at + len(words[0]) + AROUND
    return ("…" if begin else "") + line[begin:end].strip() + ("…" if end < len(line) else "")
