"""A reply that is written while the keyboard is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zigai_cli.terminal.keyboard import Keyboard

if TYPE_CHECKING:
    from zigai_cli.conversation.answer import Writer


class Listening:
    """Writes the pieces of a reply, and reads meanwhile what is typed.

    After the process was stopped and continued, the writer's method `restart` is called, if it has one: other
    programs have written to the terminal. Raises `Hangup` if the terminal was closed.
    """

    def __init__(self, writer: Writer, keys: Keyboard) -> None:
        self._writer = writer
        self._keys = keys
        self._stops = keys.stops

    def wait(self) -> None:
        """Read what was typed, and let the writer show that it waits."""
        self._listen()
        self._writer.wait()

    def write(self, piece: str, *, aside: bool = False) -> None:
        """Write a piece of the reply; `aside` is reasoning."""
        self._listen()
        self._writer.write(piece, aside=aside)

    def end(self, *, interrupted: bool = False) -> None:
        """End the reply. Ctrl-C leaves no characters on the screen here, since nothing is echoed."""
        self._writer.end()

    def _listen(self) -> None:
        self._keys.read()
        if self._keys.stops != self._stops:
            self._stops = self._keys.stops
            restart = getattr(self._writer, "restart", None)
            if restart is not None:
                restart()
