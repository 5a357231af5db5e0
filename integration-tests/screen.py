"""A terminal of a given size in this process: what a program draws, as a person sees it."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pexpect
import pyte


class Screen:
    """A program at a pseudo-terminal, with the picture that its output draws (by pyte, a VT100 emulator)."""

    def __init__(
        self, command: list[str], *, env: dict[str, str], folder: Path, columns: int = 100, rows: int = 30
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)
        self._screen.write_process_input = self.type  # answers to questions, such as for the cursor's place
        self._stream = pyte.Stream(self._screen)
        self._child = pexpect.spawn(
            command[0],
            command[1:],
            env=env,  # type: ignore[arg-type]  # its annotation has os.environ's own class
            cwd=str(folder),
            dimensions=(rows, columns),
            encoding="utf-8",
            codec_errors="replace",
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._child.delaybeforesend = None

    @property
    def text(self) -> str:
        """All lines, those that were scrolled off the top included, without blanks at their ends."""
        above = [
            "".join(line[column].data for column in range(self._screen.columns))
            for line in self._screen.history.top
        ]
        lines = [line.rstrip() for line in [*above, *self._screen.display]]
        return "\n".join(lines).rstrip()

    def type(self, text: str) -> None:
        """Send keys."""
        self._child.send(text)

    def wait(self, pattern: str, *, after: int = 0, timeout: float = 60.0) -> re.Match[str]:
        """Wait until a regular expression matches the text from position `after` on."""
        end = time.monotonic() + timeout
        while True:
            found = re.compile(pattern, re.MULTILINE).search(self.text, after)
            if found:
                return found
            assert time.monotonic() < end, f"{pattern!r} did not appear in:\n{self.text}"
            self._read(0.05)

    def end(self, timeout: float = 60.0) -> int:
        """Wait for the end of the program and return its exit code, or minus the number of its signal."""
        end = time.monotonic() + timeout
        while self._read(0.05):
            assert time.monotonic() < end, f"the program goes on after:\n{self.text}"
        self._child.close()
        return -self._child.signalstatus if self._child.signalstatus else self._child.exitstatus

    def kill(self) -> None:
        """Kill the program."""
        self._child.close(force=True)

    def _read(self, seconds: float) -> bool:
        """Draw what was written within `seconds`. False once the program has closed its terminal."""
        try:
            self._stream.feed(self._child.read_nonblocking(1 << 16, seconds))
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        return True
