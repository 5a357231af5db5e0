"""Where a conversation is kept, as the interactive part uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from zigai_core.text.chat_template import Message


class Notebook(Protocol):
    """Keeps the conversation that is being held, and opens earlier ones."""

    def keep(self, messages: Sequence[Message], system: str | None) -> None:
        """Keeps the conversation as it is now. Without messages the next one begins a new conversation."""
        ...

    def count(self, counts: Mapping[str, Any]) -> None:
        """Keeps the statistics of the last message, if it is a reply."""
        ...

    def rename(self, name: str) -> None:
        """Names the conversation."""
        ...

    def open(self, name_or_id: str) -> tuple[list[Message], str | None]:
        """Goes on with a conversation: returns its messages and its system message."""
        ...

    def names(self) -> list[str]:
        """Names of the conversations that `open` takes, the one that was changed last first."""
        ...
