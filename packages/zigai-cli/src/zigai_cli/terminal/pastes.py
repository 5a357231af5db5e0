"""Long pastes at a prompt of prompt_toolkit."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.input import Input
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding.key_processor import KeyPress

END = "\x1b[201~"
"""Sequence with which a terminal ends a bracketed paste."""

CTRL_C = "\x03"


class PasteParser(Vt100Parser):
    """A parser of keys that takes time proportional to the length of a paste.

    A terminal gives it in pieces of at most 4 kB. The base class joins and searches all earlier pieces for
    each one, which takes a minute for 10 MB (prompt_toolkit 3.0.53); here they are joined once, at the end.
    Ctrl-C, alone in a piece, ends a paste without an end.
    """

    def __init__(self, feed_key_callback: Callable[[KeyPress], None]) -> None:
        super().__init__(feed_key_callback)
        self._pieces: list[str] = []
        self._tail = ""  # the last characters, which may be the beginning of `END`

    def feed(self, data: str) -> None:
        """Take text that was read."""
        if not self._in_bracketed_paste:
            super().feed(data)
            return
        if data == CTRL_C:  # a paste whose end does not come
            self._in_bracketed_paste, self._pieces, self._tail = False, [], ""
            super().feed(data)
            return
        self._pieces.append(data)
        tail = self._tail + data
        if END not in tail:
            self._tail = tail[-len(END) + 1 :]
            return
        whole, self._pieces, self._tail = "".join(self._pieces), [], ""
        super().feed(whole)


def read_pastes_fast(keys: Input) -> None:
    """Make an input read long pastes in time proportional to their length, where it is a Unix terminal's."""
    if isinstance(keys, Vt100Input):
        keys.vt100_parser = PasteParser(keys.vt100_parser.feed_key_callback)
