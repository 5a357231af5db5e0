"""The history of a chat command: opens the store, and begins or continues a conversation."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zigai_cli import places
from zigai_cli.failure import describe
from zigai_cli.history.kept import Kept
from zigai_cli.history.store import Store, StoreError
from zigai_cli.history.stored import About, text_of
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
    about: About = field(default_factory=About)
    """Of a continued conversation: its model, system message and settings."""
    remark: str | None = None
    """Which conversation is continued, as a line."""


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
    remark = f"continuing conversation {kept.id}: {clean(kept.title)} ({len(messages)} messages)"
    unanswered = kept.unanswered()
    if unanswered is not None:
        first = " ".join(text_of(unanswered).split())[:60]
        remark += f"; its last message had no reply and is left out: {clean(first)}"
    return Begun(kept if keeps else None, messages, kept.about, remark)


def model_to_store(name: str | None) -> str | None:
    """The name of a model by which another run finds it, from any folder: a path becomes absolute."""
    return str(Path(name).absolute()) if name is not None and Path(name).exists() else name
