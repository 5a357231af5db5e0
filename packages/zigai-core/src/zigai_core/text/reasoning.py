"""Separates a model's reasoning from its answer: `<think>…</think>` at the start of a reply, or channels.

Channels are those of the harmony format (`zigai_core.text.harmony`). The markers are those of Qwen3,
DeepSeek-R1 and related models (https://qwen.readthedocs.io/en/latest/getting_started/quickstart.html), and of
Gemma 4 (its chat template). Some chat templates end the prompt with the opening marker; the reply then begins
with reasoning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zigai_core.text import harmony
from zigai_core.text.harmony import HarmonyStream, begins
from zigai_core.text.part import Part

__all__ = ["CLOSING", "OPENING", "THOUGHT", "Part", "ReasoningStream", "shown_tokens", "split_reasoning"]

OPENING, CLOSING = "<think>", "</think>"
THOUGHT = ("<|channel>thought", "<channel|>")
"""The markers of Gemma 4, of which the parts in brackets are control tokens."""

_CLOSINGS = {OPENING: CLOSING, THOUGHT[0]: THOUGHT[1]}
"""The closing marker of each opening one."""

_SHOWN = ("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<tool_response|>", '<|"|>')
"""Control tokens of Gemma 4 within a reply; `<|tool_response>` ends one."""


def shown_tokens(control_tokens: Mapping[str, int]) -> frozenset[int]:
    """Returns the ids of the markers that the text of a reply must hold, by the control tokens of a model.

    >>> sorted(shown_tokens({"<|channel>": 5, "<channel|>": 6, "<turn|>": 7}))
    [5, 6]
    """
    found = harmony.shown_tokens(control_tokens)
    if THOUGHT[1] not in control_tokens or "<|channel>" not in control_tokens:
        return found
    return found.union(control_tokens[marker] for marker in _SHOWN if marker in control_tokens)


class ReasoningStream:
    """Splits a reply that arrives in pieces into parts. White space next to the markers is dropped.

    `begun` is True if the prompt ends with the opening marker. Reasoning is recognised only at the start of a
    reply; a later marker is text.

    >>> stream = ReasoningStream()
    >>> for piece in ("<thi", "nk>2+2", " is 4</think>", "Four."):
    ...     print(*stream.push(piece))
    <BLANKLINE>
    Part(text='2+2', reasoning=True)
    Part(text=' is 4', reasoning=True)
    Part(text='Four.', reasoning=False)
    """

    def __init__(self, *, begun: bool = False) -> None:
        self._state = "reasoning" if begun else "start"
        self._closing = CLOSING
        self._held = ""
        self._fresh = True  # no part of this state has been returned yet
        self._channels = HarmonyStream()

    def push(self, piece: str) -> Iterator[Part]:
        """Adds a piece and yields the parts that are now certain."""
        self._held += piece
        if self._state == "start":
            text = self._held.lstrip()
            channels = begins(text)
            if channels is None:
                return
            if channels:
                self._state, piece, self._held = "channels", text, ""
        if self._state == "channels":
            self._held = ""
            yield from self._channels.push(piece)
            return
        if self._state == "start":
            if any(marker.startswith(text) and marker != text for marker in _CLOSINGS):
                return
            opening = next((marker for marker in _CLOSINGS if text.startswith(marker)), None)
            if opening is None:
                self._state = "text"
            else:
                self._closing = _CLOSINGS[opening]
                self._state, self._held = "reasoning", text[len(opening) :]
        if self._state == "reasoning":
            before, found, after = self._held.partition(self._closing)
            shown = before.rstrip() if found else before[: _certain(before, self._closing)]
            self._held = self._held[len(shown) :]
            yield from self._part(shown, reasoning=True)
            if not found:
                return
            self._state, self._held, self._fresh = "answer", after, True
        if self._state in ("text", "answer"):
            text, self._held = self._held, ""
            yield from self._part(text, reasoning=False)

    def finish(self) -> Iterator[Part]:
        """Yields the text held back, at the end of the reply."""
        text, self._held = self._held, ""
        if self._state == "channels":
            yield from self._channels.finish()
        else:
            yield from self._part(text, reasoning=self._state == "reasoning")

    def _part(self, text: str, *, reasoning: bool) -> Iterator[Part]:
        if self._fresh and self._state in ("reasoning", "answer"):
            text = text.lstrip()
        if text:
            self._fresh = False
            yield Part(text, reasoning)


def split_reasoning(text: str, *, begun: bool = False) -> tuple[str, str]:
    """Splits a whole reply into reasoning and answer, both without white space at the ends.

    >>> split_reasoning("<think>easy</think>\\n\\nFour.")
    ('easy', 'Four.')
    """
    stream = ReasoningStream(begun=begun)
    parts = [*stream.push(text), *stream.finish()]
    reasoning = "".join(part.text for part in parts if part.reasoning)
    return reasoning.strip(), "".join(part.text for part in parts if not part.reasoning).strip()


def _certain(text: str, closing: str) -> int:
    """The length of unfinished reasoning without white space and a partial closing marker at its end."""
    for size in range(min(len(closing) - 1, len(text)), 0, -1):
        if closing.startswith(text[-size:]):
            return len(text[:-size].rstrip())
    return len(text.rstrip())
