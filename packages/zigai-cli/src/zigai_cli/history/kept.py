"""The conversation that is being held, kept in the store."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from zigai_cli.failure import InputError, describe
from zigai_cli.history.store import ChangedError, Store, StoreError
from zigai_cli.history.stored import About, Stored

if TYPE_CHECKING:
    from zigai_core.text.chat_template import Message

NAMES = 1000
"""Most names of conversations that are proposed."""

_log = logging.getLogger("zigai.history")


class Kept:
    """A `Notebook` on a `Store`.

    If the store fails, a warning is logged and the conversation goes on without being kept. If another
    process has changed the same conversation, this one goes on as a new conversation, so that neither
    overwrites the other. A chat that drops its oldest turns to make room drops none from the store.
    """

    def __init__(self, store: Store, about: About | None = None) -> None:
        self.about = about or About()
        """Model and settings, stored with the next change; the caller may replace them at any time."""
        self._store = store
        self._working = True
        self._stored: Stored | None = None
        self._messages: list[dict[str, Any]] = []
        self._written: About | None = None
        self._begin = 0
        """Place in the stored messages of the first message that the chat still has."""
        self._name: str | None = None

    @property
    def id(self) -> int | None:
        """Number of the conversation in the store, if it is there."""
        return None if self._stored is None else self._stored.id

    @property
    def title(self) -> str:
        """Title of the conversation in the store; empty if it is not there."""
        return "" if self._stored is None else self._stored.title

    def keep(self, messages: Sequence[Message], system: str | None) -> None:
        """Store the conversation as it is now. Without messages the next one begins a new conversation."""
        given = [dict(copy.deepcopy(message)) for message in messages]
        if not given:
            self._leave()
            return
        about = replace(self.about, system=system)
        self._begin, place = _overlap(self._messages, given, self._begin)
        new = given[place - self._begin :]
        unchanged = self._stored is not None and about == self._written
        if not self._working or (unchanged and not new and place == len(self._messages)):
            return
        whole = [*self._messages[:place], *new]
        try:
            self._stored = self._write(about, whole, place)
        except StoreError as error:
            self._give_up(error)
        else:  # only now: Ctrl-C may have come before
            self._messages, self._written = whole, about

    def count(self, counts: Mapping[str, Any]) -> None:
        """Store the statistics of the last message, if it is a reply."""
        if self._working and self._stored is not None and self._messages[-1]["role"] == "assistant":
            try:
                self._store.count(self._stored.id, len(self._messages) - 1, counts)
            except StoreError as error:
                self._give_up(error)

    def rename(self, name: str) -> None:
        """Name the conversation; if it has no message yet, as soon as it has. Raises `InputError`."""
        title = " ".join(name.split())
        if not title:
            raise InputError("a conversation's name must not be empty")
        self._require()
        self._name = title
        if self._stored is not None:
            self._store.rename(self._stored.id, title)

    def open(self, name_or_id: str) -> tuple[list[Message], str | None]:
        """Go on with a stored conversation: its messages and its system message. Raises `InputError`.

        A last message that got no reply is left out: `unanswered` returns it.
        """
        self._require()
        stored = self._store.find(name_or_id)
        self._leave()
        self._stored = stored
        self._messages = copy.deepcopy(stored.messages)
        self.about = self._written = stored.about
        messages = copy.deepcopy(stored.messages)
        if messages and messages[-1]["role"] == "user":
            del messages[-1]
        return cast("list[Message]", messages), stored.about.system

    def unanswered(self) -> Message | None:
        """The last message, if it got no reply because the program ended before."""
        last = self._messages[-1] if self._messages else None
        return cast("Message", copy.deepcopy(last)) if last is not None and last["role"] == "user" else None

    def names(self) -> list[str]:
        """Titles of the stored conversations, the one that was changed last first."""
        if not self._working:
            return []
        try:
            return list(dict.fromkeys(stored.title for stored in self._store.entries(NAMES)))
        except StoreError as error:
            self._give_up(error)
            return []

    def _write(self, about: About, messages: list[dict[str, Any]], place: int) -> Stored:
        if self._stored is not None:
            try:
                return self._store.update(self._stored, about, place, messages[place:])
            except ChangedError:
                _log.warning(
                    "conversation %d was changed by another process: this chat goes on as a new one",
                    self._stored.id,
                )
                self._name = self._name or self._stored.title
        return self._store.add(about, messages, self._name)

    def _leave(self) -> None:
        self._stored, self._messages, self._begin, self._name = None, [], 0, None

    def _require(self) -> None:
        if not self._working:
            raise InputError("the history is off since the error above")

    def _give_up(self, error: StoreError) -> None:
        self._working = False
        _log.warning("%s; the conversation goes on without being stored", describe(error))


def _overlap(stored: list[dict[str, Any]], given: list[dict[str, Any]], begin: int) -> tuple[int, int]:
    """Where the given messages begin in the stored ones, and the first place where the two differ.

    A chat whose context was full has lost the oldest of its messages, so a later beginning is searched for,
    too.
    """
    start = next((place for place in range(begin, len(stored)) if stored[place] == given[0]), begin)
    same = start
    while same < len(stored) and same - start < len(given) and stored[same] == given[same - start]:
        same += 1
    return start, same
