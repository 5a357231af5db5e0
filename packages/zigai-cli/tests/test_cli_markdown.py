"""Markdown drawn as it arrives: the screen does not depend on the pieces in which a text comes."""

from __future__ import annotations

import io
import re

import pyte
import pytest

from zigai_cli.terminal import markdown
from zigai_cli.terminal.markdown import MarkdownWriter, blocks, render

TEXT = """# Adding numbers

A *function* of **two** numbers, `add`, in words that are wrapped whole at the width of a screen:

```python
def add(a, b):
    return a + b
```

1. one
2. two, with 日本語 and é

- a list
  - inside a list

| a | b |
|---|---|
| 1 | 2 |

> a quotation

The end\\! <b>not HTML</b>"""


@pytest.fixture(autouse=True)
def size(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Columns and rows of the screen. Each piece is drawn at once."""
    measures = [40, 60]
    monkeypatch.setattr(markdown, "size", lambda stream: tuple(measures))
    monkeypatch.setattr(markdown, "DRAW_SECONDS", 0.0)
    return measures


def screen_of(pieces: list[str], columns: int = 40, rows: int = 60) -> list[str]:
    """The lines of a terminal, with what has scrolled off it, after these pieces were written."""
    stream = io.StringIO()
    writer = MarkdownWriter(stream)
    for piece in pieces:
        writer.write(piece)
        writer.wait()
    writer.end()
    screen = pyte.HistoryScreen(columns, rows, history=1000)
    pyte.Stream(screen).feed(stream.getvalue().replace("\n", "\r\n"))
    above = ["".join(line[place].data for place in range(columns)) for line in screen.history.top]
    return [line.rstrip() for line in [*above, *screen.display]]


def trimmed(lines: list[str]) -> str:
    return "\n".join(lines).rstrip()


def test_any_split_in_two_gives_the_screen_of_the_whole_text() -> None:
    whole = trimmed(screen_of([TEXT]))
    assert "Adding numbers" in whole
    assert "<b>not HTML</b>" in whole
    for place in range(1, len(TEXT)):
        assert trimmed(screen_of([TEXT[:place], TEXT[place:]])) == whole, place


@pytest.mark.parametrize("length", [1, 3, 7, 50])
def test_pieces_of_any_length_give_the_screen_of_the_whole_text(length: int) -> None:
    pieces = [TEXT[place : place + length] for place in range(0, len(TEXT), length)]
    assert trimmed(screen_of(pieces)) == trimmed(screen_of([TEXT]))


def test_a_block_longer_than_the_screen_loses_no_line(size: list[int]) -> None:
    size[1] = 10
    text = "```\n" + "".join(f"line {number}\n" for number in range(50)) + "```\n\nend"
    pieces = [text[place : place + 5] for place in range(0, len(text), 5)]
    shown = [line for line in screen_of(pieces, rows=10) if line]
    assert shown == [*(f"line {number}" for number in range(50)), "end"]


def test_words_are_wrapped_whole_and_wide_characters_count_twice() -> None:
    assert render("one two three", 9) == ["one two", "three"]
    assert render("日本語日本語", 8) == ["日本語日", "本語"]


def test_code_has_no_spaces_at_the_ends_of_its_lines() -> None:
    lines = screen_of(["```python\nif a:\n    b()\n```"])
    assert lines[:2] == ["if a:", "    b()"]


def test_lines_of_a_reply_are_lines_on_the_screen() -> None:
    assert screen_of(["one\ntwo\n\n- three\n  four"])[:5] == ["one", "two", "", " • three", "   four"]


def test_a_line_of_code_longer_than_a_small_screen_is_drawn_once(size: list[int]) -> None:
    size[1] = 5
    code = " ".join(f"word{number}" for number in range(40))
    lines = screen_of(
        [f"```\n{code}\n```"[place : place + 7] for place in range(0, len(code) + 8, 7)], rows=5
    )
    assert " ".join(line.strip() for line in lines if line).split() == code.split()


LONG = "x = " + " + ".join(f"name{number}" for number in range(20))


@pytest.mark.parametrize("length", [1, 7, 1000])
@pytest.mark.parametrize("rows", [14, 60])
def test_long_lines_of_code_are_broken_by_the_terminal_alone(size: list[int], length: int, rows: int) -> None:
    size[1] = rows
    text = f"first\n\n```python\ndef f():\n    {LONG}\n    return x\n```\n\nlast"
    pieces = [text[place : place + length] for place in range(0, len(text), length)]
    stream = io.StringIO()
    writer = MarkdownWriter(stream)
    for piece in pieces:
        writer.write(piece)
        writer.wait()
    writer.end()
    assert LONG in re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    broken = [f"    {LONG}"[place : place + 40].rstrip() for place in range(0, len(LONG) + 4, 40)]
    wanted = ["first", "", "def f():", *broken, "    return x", "", "last"]
    assert screen_of(pieces, rows=rows)[: len(wanted)] == wanted


def test_blocks_are_complete_but_for_the_last() -> None:
    assert blocks("one\n\ntwo\nthree\n\n- a\n- b") == ["one\n\n", "two\nthree\n\n", "- a\n- b"]


def test_a_text_can_send_no_escape_sequences() -> None:
    stream = io.StringIO()
    writer = MarkdownWriter(stream)
    writer.write("\x1b[2Jgone \x9b31m `\x1b]52;c;aGk=\x07` &#27;[2J")
    writer.end()
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x1b]" not in stream.getvalue()
    assert not {"\x9b", "\x07"} & set(stream.getvalue())


def test_reasoning_is_dim_and_apart_from_the_answer() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    writer = MarkdownWriter(stream)
    writer.write("hm", aside=True)
    writer.write("**yes**")
    writer.end()
    assert stream.getvalue().startswith("\x1b[2mhm\x1b[0m\n\n\x1b[1myes")


def test_a_resize_draws_the_open_block_anew(size: list[int]) -> None:
    stream = io.StringIO()
    writer = MarkdownWriter(stream)
    writer.write("some words that take two lines of the screen, then")
    size[0] = 60
    writer.write(" more")
    writer.end()
    assert stream.getvalue().endswith("some words that take two lines of the screen, then more\n")


def test_a_restart_writes_the_open_block_below() -> None:
    stream = io.StringIO()
    writer = MarkdownWriter(stream)
    writer.write("done\n\nopen")
    writer.restart()
    stream.write("shell\n")
    writer.write(" block")
    writer.end()
    assert stream.getvalue().endswith("shell\nopen block\n")
