"""Checks messages of a chat and copies them, so that a later change to the original changes no chat."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import cast

from zigai_core.contracts.errors import TokenizerError, quote
from zigai_core.text.chat_template import Message


def checked_message(given: object, what: str = "a message") -> Message:
    """Returns a copy of a message; a text is the user's.

    Raises `TokenizerError`, which names `what`, for anything but a text or a mapping with a role and content.
    The content may be missing, or None, only beside `tool_calls`.
    """
    if isinstance(given, str):
        return {"role": "user", "content": given}
    if not isinstance(given, Mapping):
        raise TokenizerError(f"{what} is text or a mapping with a role, not {type(given).__name__}")
    role = given.get("role")
    if not isinstance(role, str):
        raise TokenizerError(f"{what} must have a role, a text such as 'user', not {quote(role)}")
    content = given.get("content")
    if not isinstance(content, (str, list)) and not (content is None and given.get("tool_calls")):
        raise TokenizerError(
            f"{what} must have content, a text or a list of parts, not {quote(content)}"
            if "content" in given
            else f"{what} must have content, a text or a list of parts"
        )
    return cast("Message", copy.deepcopy(dict(given)))


def checked_system(given: object) -> str | None:
    """Returns a system message. Raises `TokenizerError` for anything but a text or None."""
    if given is not None and not isinstance(given, str):
        raise TokenizerError(f"system must be a text or None, not {type(given).__name__}")
    return given


def checked_messages(given: object) -> list[Message]:
    """Returns copies of messages. Raises `TokenizerError`, with the index, as `checked_message` does."""
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes, bytearray)):
        raise TokenizerError(f"messages must be a list of messages, not {type(given).__name__}")
    return [checked_message(message, f"message {place}") for place, message in enumerate(given)]
