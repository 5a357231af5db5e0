"""A piece of a reply's text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A piece of a reply's text. `reasoning` is True for reasoning, False for the answer."""

    text: str
    reasoning: bool
