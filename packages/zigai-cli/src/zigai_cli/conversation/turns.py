"""The messages of a conversation as turns: a user's message and what follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zigai_core.text.chat_template import Message


def begin(messages: Sequence[Message], number: int = 1) -> int | None:
    """The place of the user's message `number` from the end; None if there is none.

    >>> begin([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    0
    """
    places = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    return places[-number] if 0 < number <= len(places) else None


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message: its content, or the text parts of a content that is a list, a line each."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))


def last_reply(messages: Sequence[Message]) -> str | None:
    """The text of the last reply; None if there is none."""
    replies = [text_of(message) for message in messages if message.get("role") == "assistant"]
    return replies[-1] if replies else None
