"""Separates the channels of a reply in the harmony format of gpt-oss: reasoning, answer and calls of tools.

A reply is a row of messages, `HEADER<|message|>TEXT<|end|>`, of which the first header follows the prompt's
`<|start|>assistant`, and the others follow a `<|start|>` of their own. A header names a channel, and a
recipient if the message calls a tool: `<|channel|>commentary to=functions.f <|constrain|>json`. Source:
OpenAI, "OpenAI harmony response format", 2025 (https://cookbook.openai.com/articles/openai-harmony).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from zigai_core.text.part import Part

CHANNEL, MESSAGE = "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|start|>")
"""Markers after which a header begins; some messages lack the first one."""
MARKERS = (CHANNEL, MESSAGE, *_ENDS, "<|constrain|>")
"""Control tokens within a reply. Those that end it, `<|return|>` and `<|call|>`, are no part of its text."""

_RECIPIENT = re.compile(r"to=[\w.\-]*")
_NAME = re.compile(r"<\|channel\|>\s*(\w*)")


def shown_tokens(control_tokens: Mapping[str, int]) -> frozenset[int]:
    """Returns the ids of the markers that the text of a reply must hold, by the control tokens of a model.

    None of them if the model does not have the format.

    >>> sorted(shown_tokens({"<|channel|>": 5, "<|message|>": 6, "<|end|>": 7, "<|call|>": 8}))
    [5, 6, 7]
    >>> shown_tokens({"<|end|>": 7})
    frozenset()
    """
    if CHANNEL not in control_tokens or MESSAGE not in control_tokens:
        return frozenset()
    return frozenset(control_tokens[marker] for marker in MARKERS if marker in control_tokens)


def begins(text: str) -> bool | None:
    """Whether a reply is in this format, from its beginning; None if more of it is needed to tell."""
    text = text.lstrip()
    found = _RECIPIENT.match(text)
    rest = text[found.end() :] if found else text
    if rest.startswith(CHANNEL):
        return True
    return None if CHANNEL.startswith(rest) or (not found and "to=".startswith(text)) else False


class HarmonyStream:
    """Splits a reply that arrives in pieces into parts.

    Messages of the channel `analysis` are reasoning, those of all others are the answer; several of a kind
    are separated by an empty line. A call of a tool is part of the answer, with its header as the model
    wrote it.

    >>> stream = HarmonyStream()
    >>> pieces = "<|channel|>analysis<|mess", "age|>Easy.<|end|>", "<|channel|>final<|message|>4."
    >>> for piece in pieces:
    ...     print(*stream.push(piece))
    <BLANKLINE>
    Part(text='Easy.', reasoning=True)
    Part(text='4.', reasoning=False)
    """

    def __init__(self) -> None:
        self._held = ""
        self._reasoning: bool | None = None
        """The kind of the message whose text arrives; None within a header."""
        self._fresh = True  # nothing of this message has been returned yet
        self._begun = False  # no message has begun yet
        self._said: set[bool] = set()
        """The kinds of messages of which something has been returned."""

    def push(self, piece: str) -> Iterator[Part]:
        """Adds a piece and yields the parts that are now certain."""
        self._held += piece
        while True:
            if self._reasoning is None:
                header, found, after = self._held.partition(MESSAGE)
                if not found:
                    return
                yield from self._begin(header, after)
                continue
            ends = [at for at in map(self._held.find, _ENDS) if at >= 0]
            if not ends:
                text = self._held[: len(self._held) - _undecided(self._held)]
                self._held = self._held[len(text) :]
                yield from self._part(text)
                return
            text, self._held = self._held[: min(ends)], self._held[min(ends) :]
            yield from self._part(text)
            self._reasoning = None

    def finish(self) -> Iterator[Part]:
        """Yields the text held back, at the end of the reply. A header without a message is dropped.

        Unless it is all that there is: then it may be no header.
        """
        text, self._held = self._held, ""
        if self._reasoning is None and self._begun:
            return
        self._reasoning = bool(self._reasoning)
        yield from self._part(text)

    def _begin(self, header: str, after: str) -> Iterator[Part]:
        name = _NAME.search(header)
        called = "to=" in header
        self._reasoning, self._held = name is not None and name[1] == "analysis" and not called, after
        self._begun = self._fresh = True
        if called:
            for marker in _ENDS:
                header = header.removeprefix(marker)
            yield from self._part(header.removeprefix("assistant").strip() + MESSAGE)

    def _part(self, text: str) -> Iterator[Part]:
        kind = bool(self._reasoning)
        if self._fresh:
            text = text.lstrip()
        if text:
            apart = "\n\n" if self._fresh and kind in self._said else ""
            self._fresh = False
            self._said.add(kind)
            yield Part(apart + text, kind)


def _undecided(text: str) -> int:
    """The number of characters at the end of `text` that may be the beginning of a marker that ends it."""
    longest = max(map(len, _ENDS)) - 1
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if any(end.startswith(text[-size:]) for end in _ENDS)), 0)
