"""The keyboard of a conversation: no echo between prompts, and keys typed meanwhile are kept."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, NoReturn, TextIO

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
_ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT")
_RESET = "\x1b[0m\x1b[?2004l\x1b[?25h"
"""Plain text, no bracketed paste, and a visible cursor."""
_open: list[Keyboard] = []


class Hangup(EOFError):  # noqa: N818 - not a fault
    """The terminal was closed."""


class Keyboard:
    """Standard input, a terminal, without echo inside the `with` block; Ctrl-C and Ctrl-Z work as before.

    The terminal's settings are restored at the end, while the process is stopped by Ctrl-Z, and before a
    signal ends it. Keys that were typed are read by `read` and returned by `take`.
    """

    def __init__(self, screen: TextIO) -> None:
        self.stops = 0
        """How many times the process was stopped and continued: what is on the screen has changed."""
        self._screen = screen
        self._typed = b""
        self._descriptor = sys.stdin.fileno()
        self._saved: Any = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Keyboard:
        if termios is not None:
            self._saved = termios.tcgetattr(self._descriptor)
            for name in _ENDING:
                self._handle(getattr(signal, name), self._end)
            self._handle(signal.SIGTSTP, self._stop)
            _open.append(self)
            self._quiet()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saved is None:
            return
        _open.remove(self)
        self.restore()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def restore(self) -> None:
        """Give the terminal its settings back."""
        with contextlib.suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._saved)

    def read(self) -> None:
        """Read what was typed, without waiting. Raises `Hangup` if the terminal was closed."""
        if self._saved is None:
            return
        try:
            while select.select([self._descriptor], [], [], 0)[0]:
                typed = os.read(self._descriptor, 65536)
                if not typed:
                    raise Hangup
                self._typed += typed
        except OSError as error:
            raise Hangup from error

    def take(self) -> str:
        """Return what was typed, as it would be on a line: keys that edit are applied, others left out."""
        typed, self._typed = self._typed, b""
        return as_line(typed.decode("utf-8", "replace"))

    def _quiet(self) -> None:
        try:
            mode = termios.tcgetattr(self._descriptor)
            mode[3] &= ~(termios.ECHO | termios.ICANON)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)
        except termios.error as error:
            raise Hangup from error

    def _handle(self, number: int, handler: Any) -> None:
        if signal.getsignal(number) is not signal.SIG_IGN:
            self._handlers[number] = signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """End the process by the signal, with the terminal restored."""
        self._reset()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop the process (Ctrl-Z) with the terminal restored, and go on when it is continued."""
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # Here the process is stopped, until SIGCONT.
        signal.signal(number, self._stop)
        self.stops += 1
        self._quiet()

    def _reset(self) -> None:
        self.restore()
        if os.environ.get("TERM") != "dumb":
            with contextlib.suppress(OSError, ValueError):  # the terminal was closed
                os.write(self._screen.fileno(), _RESET.encode())


def leave(code: int) -> NoReturn:
    """End the process at once, with the terminal restored if a `Keyboard` has changed it."""
    for each in _open:
        each._reset()
    os._exit(code)


def as_line(typed: str) -> str:
    """The text of keys: escape sequences are left out, Backspace, Ctrl-W and Ctrl-U are applied.

    >>> as_line("helo\\x7flo\\x1b[A wrold\\x17world\\r")
    'hello world\\n'
    """
    text = ""
    for key in _ESCAPES.sub("", typed.replace("\r\n", "\n").replace("\r", "\n")):
        if key in "\x7f\x08":
            text = text[:-1]
        elif key == "\x15":
            text = text[: text.rfind("\n") + 1]
        elif key == "\x17":
            text = re.sub(r"[^\s]*[ \t]*\Z", "", text)
        elif key in "\n\t" or key >= " ":
            text += key
    return text
