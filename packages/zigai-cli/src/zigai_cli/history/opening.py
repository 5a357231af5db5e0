"""The history of a chat command: opens the store, and begins or continues a conversation."""

from __future__ import annotations

import logging
from pathlib import Path

from zigai_cli import places
from zigai_cli.conversation.notebook import Opened
from zigai_cli.failure import InputError, describe
from zigai_cli.history.kept import Kept
from zigai_cli.history.store import Store, StoreError

FILE = "history.sqlite"

_log = logging.getLogger("zigai.history")


def path() -> Path:
    """The file of the stored conversations."""
    return places.data_folder() / FILE


def begin(continued: str | None, *, keeps: bool) -> tuple[Kept | None, Opened | None]:
    """Begin a conversation, or continue the one of this title or number, or `last`.

    Returns what stores it, None without a history, and what was continued. If a new conversation cannot be
    stored, a warning is logged. Raises `InputError` if there is no conversation to continue, and `StoreError`
    if it cannot be read.
    """
    if continued is None:
        if not keeps:
            return None, None
        try:
            return Kept(Store(path())), None
        except StoreError as error:
            _log.warning("%s; the conversation is not stored (--no-history: store none)", describe(error))
            return None, None
    if not path().exists():
        raise InputError("no conversation is stored yet: zig-ai chat stores each one")
    kept = Kept(Store(path()))
    opened = kept.open(continued)
    if keeps:
        return kept, opened
    kept.close()
    return None, opened
