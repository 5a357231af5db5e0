"""Terminal output: control characters, colours, the spinner, tables."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_cli.terminal import output as terminal
from zigai_cli.terminal.output import ReplyWriter, clean, dim, figure, has_colour


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(st.text())
def test_cleaning_removes_control_characters_and_nothing_else(text: str) -> None:
    cleaned = clean(text)
    assert all(c in "\n\t" or not (c < " " or "\x7f" <= c <= "\x9f") for c in cleaned)
    assert [c for c in text if c in cleaned] == list(cleaned)
    assert clean("é☃ 漢字\n\t[bold]") == "é☃ 漢字\n\t[bold]"


def test_colours_need_a_terminal_without_no_color_or_term_dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert dim("x", Screen()) == "\x1b[2mx\x1b[0m"
    assert dim("x", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Screen())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Screen())


def test_the_spinner_is_erased_before_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    writer = ReplyWriter(screen, spinner=True)
    writer.wait()
    writer.wait()
    writer.write("Hi")
    writer.wait()
    writer.end()
    assert screen.getvalue() == "|\b/\b \bHi\n"


def test_the_last_line_of_a_reply_is_ended_once() -> None:
    for pieces in (["a", "b\n"], ["a", "b"], ["a", "b\n", "\x1b"]):
        screen = io.StringIO()
        writer = ReplyWriter(screen, spinner=False)
        for piece in pieces:
            writer.wait()
            writer.write(piece)
        writer.end()
        assert screen.getvalue() == "ab\n"


def test_tables_are_aligned_and_interpret_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table([["[red]a[/red]", "1"], ["b\x1b[2J", "1000"]], ["name", "n"], numbers=[1])
    assert capsys.readouterr().out == "name             n\n[red]a[/red]     1\nb[2J          1000\n"
    terminal.table([["x" * 500, "y"]])
    assert capsys.readouterr().out.count("\n") == 1


def test_figures_have_three_significant_digits() -> None:
    assert [figure(n) for n in (7, 1000, 260_032, 6_738_415_616)] == ["7", "1 k", "260 k", "6.74 G"]
