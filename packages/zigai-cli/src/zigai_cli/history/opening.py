"""The history of a chat command: opens the store, and begins or continues a conversation."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zigai_cli import places
from zigai_cli.conversation.turns import text_of
from zigai_cli.failure import describe
from zigai_cli.history.kept import Kept
from zigai_cli.history.store import Store, StoreError
from zigai_cli.history.stored import About
from zigai_cli.terminal.output import clean

if TYPE_CHECKING:
    from zigai_core.text.chat_template import Message

FILE = "history.sqlite"

_log = logging.getLogger("zigai.history")


@dataclass(frozen=True)
class Begun:
    """A conversation that a chat begins or continues."""

    kept: Kept | None = None
    """Stores the conversation; None without a history."""
    messages: list[Message] = field(default_factory=list)
    about: About | None = None
    """Of a continued conversation: its model, system message and settings."""
    remark: str = ""
    """Which conversation is continued, as a line."""
    unanswered: str = ""
    """The last message of a continued conversation, if it got no reply; it is none of `messages`."""


def path() -> Path:
    """The file of the stored conversations."""
    return places.data_folder() / FILE


def begin(continued: str | None, *, keeps: bool) -> Begun:
    """Begin a conversation, or continue the one of this title or number, or `last`.

    If a new conversation cannot be stored, a warning is logged. Raises `InputError` if there is no
    conversation to continue, and `StoreError` if it cannot be read.
    """
    if continued is None:
        if not keeps:
            return Begun()
        try:
            return Begun(Kept(Store(path())))
        except StoreError as error:
            _log.warning("%s; the conversation is not stored (--no-history: store none)", describe(error))
            return Begun()
    kept = Kept(Store(path()))
    messages, _ = kept.open(continued)
    remark = f"continuing conversation {kept.id}: {clean(kept.title)}"
    unanswered = kept.unanswered()
    begun = Begun(kept, messages, kept.about, remark, "" if unanswered is None else text_of(unanswered))
    if keeps:
        return begun
    kept.close()
    return replace(begun, kept=None)
