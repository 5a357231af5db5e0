"""Stored conversations as Markdown and as JSON Lines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from zigai_cli.conversation.turns import text_of
from zigai_cli.history.stored import Stored


class Format(StrEnum):
    """Format of exported conversations."""

    MARKDOWN = "markdown"
    JSONL = "jsonl"


def when(seconds: float) -> str:
    """A time in the local time zone, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def full_record(stored: Stored) -> dict[str, Any]:
    """The conversation with its messages, as values for JSON. A reply's statistics are its `counts`."""
    messages = [
        dict(message) if counts is None else {**message, "counts": counts}
        for message, counts in zip(stored.messages, stored.counts, strict=True)
    ]
    return {**stored.record(), "messages": messages}


def jsonl(conversations: Sequence[Stored]) -> str:
    """A JSON object a line, one for each conversation."""
    return "".join(json.dumps(full_record(stored)) + "\n" for stored in conversations)


def markdown(conversations: Sequence[Stored]) -> str:
    """A heading for each conversation and each message; reasoning is quoted."""
    return "\n".join(_one(stored) for stored in conversations)


def _one(stored: Stored) -> str:
    model = stored.about.descriptor or stored.about.model
    parts = [
        f"# {' '.join(stored.title.split())}\n",
        f"{when(stored.created)}{f' · {model}' if model else ''}\n",
    ]
    if stored.about.system:
        parts.append(f"## System\n\n{stored.about.system}\n")
    parts += [_message(message) for message in stored.messages]
    return "\n".join(parts)


def _message(message: Mapping[str, Any]) -> str:
    reasoning = message.get("reasoning_content")
    quoted = ""
    if isinstance(reasoning, str) and reasoning.strip():
        quoted = "".join(f"> {line}".rstrip() + "\n" for line in reasoning.strip().splitlines()) + "\n"
    calls = message.get("tool_calls")
    called = f"\n```json\n{json.dumps(calls, indent=2)}\n```\n" if calls else ""
    return f"## {str(message['role']).capitalize()}\n\n{quoted}{text_of(message).strip()}\n{called}"
