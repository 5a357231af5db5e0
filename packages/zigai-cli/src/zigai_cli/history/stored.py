"""A conversation as it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zigai_cli.conversation.turns import text_of
from zigai_cli.terminal.output import shortened

LONGEST_TITLE = 80
"""Most characters of a title that is made from a message."""


@dataclass(frozen=True)
class About:
    """What holds for a whole conversation, apart from its messages."""

    model: str | None = None
    """The model as it was named, or None for the one that comes with zigai."""
    descriptor: str = ""
    """The model's own name, from its file."""
    system: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How replies were generated, as values for JSON."""


@dataclass(frozen=True)
class Stored:
    """A conversation in the store. Times are seconds since 1970, in UTC."""

    id: int
    title: str
    about: About
    created: float
    updated: float
    revision: int
    """Number of the last change, by which a writer notices that another process changed the conversation."""
    length: int
    """Number of messages."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """The messages as the chat has them; empty in a list of conversations."""
    counts: list[dict[str, Any] | None] = field(default_factory=list)
    """By message, the statistics of a reply, or None."""

    def record(self) -> dict[str, Any]:
        """The conversation as values for JSON, without its messages."""
        return {
            "id": self.id,
            "title": self.title,
            "model": self.about.model,
            "model_name": self.about.descriptor,
            "system": self.about.system,
            "settings": dict(self.about.settings),
            "created": self.created,
            "updated": self.updated,
            "message_count": self.length,
        }


def title_of(message: Mapping[str, Any]) -> str:
    """A title for a conversation that begins with this message: its first line that is not empty."""
    lines = (line for line in text_of(message).splitlines() if line.strip())
    return shortened(next(lines, "untitled"), LONGEST_TITLE)
