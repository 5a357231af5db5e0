"""Where a conversation is kept, as the interactive part uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from zigai_core.text.chat_template import Message


@dataclass(frozen=True)
class Opened:
    """A conversation that was kept and goes on."""

    id: int
    title: str
    messages: list[Message]
    system: str | None = None
    model: str | None = None
    """The model as it was named, or None for the one that comes with zigai."""
    model_name: str = ""
    """The model's own name."""
    unanswered: str = ""
    """The last message, if it got no reply because the program ended; it is none of `messages`."""


class Notebook(Protocol):
    """Keeps the conversation that is being held, and opens earlier ones."""

    dropped: int
    """How many of the kept messages, from the first on, the chat has dropped to make room in its context."""

    def describe(self, model: str | None, name: str, settings: Mapping[str, Any]) -> None:
        """Sets what is kept with the next change: the model as it was named, its own name, and settings."""
        ...

    def keep(self, messages: Sequence[Message], system: str | None) -> None:
        """Keeps the conversation as it is now: the messages that were dropped, and then these."""
        ...

    def leave(self) -> None:
        """Makes the next message the first of a new conversation."""
        ...

    def count(self, counts: Mapping[str, Any]) -> None:
        """Keeps the statistics of the last message, if it is a reply."""
        ...

    def rename(self, name: str) -> None:
        """Names the conversation."""
        ...

    def open(self, name_or_id: str) -> Opened:
        """Goes on with a conversation."""
        ...

    def names(self) -> list[str]:
        """Names of the conversations that `open` takes, the one that was changed last first."""
        ...
