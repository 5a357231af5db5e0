"""Reasoning that a model writes before its answer, told apart from it: `<think>…</think>` at a reply's start.

The markers are those of Qwen3, DeepSeek-R1 and their relatives
(https://qwen.readthedocs.io/en/latest/getting_started/quickstart.html). A chat template may have written the
first one already, as the end of the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

OPENING, CLOSING = "<think>", "</think>"


@dataclass(frozen=True)
class Part:
    """Some text of a reply, and whether it is reasoning."""

    text: str
    reasoning: bool


class ReasoningStream:
    """Takes a reply piece by piece and gives it back in parts; blanks beside the markers are left out.

    `begun` says that the prompt has ended in the opening marker. Only what a reply begins with can be
    reasoning: a marker further on is text.

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
        self._held = ""
        self._fresh = True  # nothing of this state has been given yet

    def push(self, piece: str) -> Iterator[Part]:
        """The parts that are certain with this piece."""
        self._held += piece
        if self._state == "start":
            text = self._held.lstrip()
            if OPENING.startswith(text[: len(OPENING)]) and len(text) < len(OPENING):
                return
            opened = text.startswith(OPENING)
            self._state, self._held = ("reasoning", text[len(OPENING) :]) if opened else ("text", self._held)
        if self._state == "reasoning":
            before, found, after = self._held.partition(CLOSING)
            shown = before.rstrip() if found else before[: _certain(before)]
            self._held = self._held[len(shown) :]
            yield from self._part(shown, reasoning=True)
            if not found:
                return
            self._state, self._held, self._fresh = "answer", after, True
        if self._state in ("text", "answer"):
            text, self._held = self._held, ""
            yield from self._part(text, reasoning=False)

    def finish(self) -> Iterator[Part]:
        """What was held back, once the reply has ended."""
        text, self._held = self._held, ""
        yield from self._part(text, reasoning=self._state == "reasoning")

    def _part(self, text: str, *, reasoning: bool) -> Iterator[Part]:
        if self._fresh and self._state in ("reasoning", "answer"):
            text = text.lstrip()
        if text:
            self._fresh = False
            yield Part(text, reasoning)


def split_reasoning(text: str, *, begun: bool = False) -> tuple[str, str]:
    """The reasoning in a whole reply and the answer, both without blanks at their ends.

    >>> split_reasoning("<think>easy</think>\\n\\nFour.")
    ('easy', 'Four.')
    """
    stream = ReasoningStream(begun=begun)
    parts = [*stream.push(text), *stream.finish()]
    reasoning = "".join(part.text for part in parts if part.reasoning)
    return reasoning.strip(), "".join(part.text for part in parts if not part.reasoning).strip()


def _certain(text: str) -> int:
    """How much of unfinished reasoning cannot be a part of its end: the blanks and the marker there."""
    for size in range(min(len(CLOSING) - 1, len(text)), 0, -1):
        if CLOSING.startswith(text[-size:]):
            return len(text[:-size].rstrip())
    return len(text.rstrip())
