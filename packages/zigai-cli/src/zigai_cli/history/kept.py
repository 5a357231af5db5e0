"""The conversation that is being held, kept in the store."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from zigai_cli.conversation.notebook import Opened
from zigai_cli.conversation.turns import text_of
from zigai_cli.failure import InputError, describe
from zigai_cli.history.store import ChangedError, Store, StoreError
from zigai_cli.history.stored import About, Stored, title_of

if TYPE_CHECKING:
    from zigai_core.text.chat_template import Message

NAMES = 1000
"""Most names of conversations that are proposed."""

_log = logging.getLogger("zigai.history")


class Kept:
    """A `Notebook` on a `Store`.

    If the store fails, a warning is logged, once for each reason, and the next change tries again. If another
    process has changed the same conversation, this one goes on as a new conversation, so that neither
    overwrites the other. A chat that drops its oldest turns to make room drops none from the store.
    """

    def __init__(self, store: Store, about: About | None = None) -> None:
        self.about = about or About()
        """Model and settings, stored with the next change."""
        self.dropped = 0
        self._store = store
        self._failure = ""
        """The last failure of the store, until it works again."""
        self._stored: Stored | None = None
        self._whole: list[dict[str, Any]] = []
        """The messages of the conversation, those included that the chat has dropped."""
        self._messages: list[dict[str, Any]] = []
        """The messages that are in the store."""
        self._unanswered: dict[str, Any] | None = None
        """The last stored message, if it got no reply and the chat does not have it."""
        self._written: About | None = None
        self._name: str | None = None

    @property
    def id(self) -> int | None:
        """Number of the conversation in the store, if it is there."""
        return None if self._stored is None else self._stored.id

    def describe(self, model: str | None, name: str, settings: Mapping[str, Any]) -> None:
        """Set what is stored with the next change; the system message is that of `keep`."""
        self.about = About(model, name, settings=dict(settings))

    def keep(self, messages: Sequence[Message], system: str | None) -> None:
        """Store the conversation as it is now. One that has no message any more is deleted.

        A last message that got no reply stays in the store until another takes its place.
        """
        given = [dict(copy.deepcopy(message)) for message in messages]
        self._whole = whole = [*self._whole[: self.dropped], *given]
        if self._unanswered is not None and whole == self._messages[:-1]:
            whole = [*whole, self._unanswered]
        else:
            self._unanswered = None
        if not (whole or self._stored):
            return
        about = replace(self.about, system=system)
        place = _same(self._messages, whole)
        if self._stored is not None and about == self._written and place == len(self._messages) == len(whole):
            return
        try:
            stored = self._write(about, whole, place)
        except StoreError as error:
            self._warn(error)
        else:  # only now: Ctrl-C may have come before
            self._stored, self._messages, self._written, self._failure = stored, whole, about, ""

    def leave(self) -> None:
        """Begin a new conversation with the next message. The one until now stays in the store."""
        self._stored, self._whole, self._messages, self.dropped, self._name = None, [], [], 0, None
        self._unanswered = None

    def close(self) -> None:
        """Close the store. Nothing else may be called after it."""
        self._store.close()

    def count(self, counts: Mapping[str, Any]) -> None:
        """Store the statistics of the last message, if it is a reply."""
        if self._stored is not None and not self._failure and self._messages[-1]["role"] == "assistant":
            try:
                self._store.count(self._stored.id, len(self._messages) - 1, counts)
            except StoreError as error:
                self._warn(error)

    def rename(self, name: str) -> None:
        """Name the conversation; if it has no message yet, as soon as it has. Raises `InputError`."""
        title = " ".join(name.split())
        if not title:
            raise InputError("a conversation's name must not be empty")
        if self._stored is not None:
            self._store.rename(self._stored.id, title)
            self._stored = replace(self._stored, title=title)
        elif self._failure:
            raise InputError(f"the conversation is not stored: {self._failure}")
        self._name = title

    def open(self, name_or_id: str) -> Opened:
        """Go on with a stored conversation. Raises `InputError`."""
        stored = self._store.find(name_or_id)
        self.leave()
        self._stored = stored
        self._messages = copy.deepcopy(stored.messages)
        self.about = self._written = stored.about
        messages = cast("list[Message]", copy.deepcopy(stored.messages))
        unanswered = ""
        if messages and messages[-1]["role"] == "user":
            unanswered = text_of(messages.pop())
            self._unanswered = self._messages[-1]
        self._whole = self._messages[: len(messages)]
        about = stored.about
        return Opened(
            stored.id, stored.title, messages, about.system, about.model, about.descriptor, unanswered
        )

    def names(self) -> list[str]:
        """Titles of the stored conversations, the one that was changed last first."""
        try:
            return list(dict.fromkeys(stored.title for stored in self._store.entries(NAMES)))
        except StoreError as error:
            self._warn(error)
            return []

    def _write(self, about: About, messages: list[dict[str, Any]], place: int) -> Stored | None:
        """Store the messages, of which those before `place` are in the store. Returns what is stored now."""
        if self._stored is not None:
            try:
                if messages:
                    return self._store.update(self._stored, about, place, messages[place:])
                self._store.remove_unchanged(self._stored)
            except ChangedError:
                _log.warning(
                    "conversation %d was changed by another process: this chat goes on as a new one",
                    self._stored.id,
                )
                self._name = self._name or self._stored.title
            else:
                if self._messages and self._stored.title != title_of(self._messages[0]):
                    self._name = self._stored.title
                return None
        return self._store.add(about, messages, self._name) if messages else None

    def _warn(self, error: StoreError) -> None:
        failure = describe(error)
        if failure != self._failure:
            _log.warning("%s; the conversation goes on, and the next message tries to store it", failure)
        self._failure = failure


def _same(stored: list[dict[str, Any]], given: list[dict[str, Any]]) -> int:
    """The first place at which the two differ."""
    pairs = zip(stored, given, strict=False)
    shorter = min(len(stored), len(given))
    return next((place for place, (old, new) in enumerate(pairs) if old != new), shorter)
