"""The line of progress."""

from __future__ import annotations

import io

import pyte
import pytest

from zigai_cli.terminal import status
from zigai_cli.terminal.status import StatusLine


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_line_takes_one_row_and_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "size", lambda stream: (20, 10))
    stream = Screen()
    screen = pyte.Screen(20, 10)
    with StatusLine(stream) as line:
        line.show("a line that is longer than the screen")
        pyte.Stream(screen).feed(stream.getvalue())
        assert screen.display[0] == "a line that is long "
        line.show("日本語日本語日本語日本語")
    pyte.Stream(screen).feed(stream.getvalue())
    assert [row for row in screen.display if row.strip()] == []


def test_nothing_is_written_where_no_line_can_be_replaced() -> None:
    stream = io.StringIO()
    with StatusLine(stream) as line:
        line.show("text")
    assert (stream.getvalue(), line.moves) == ("", False)
