"""An error is one line of bounded length, whatever content of a file it repeats."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from zigai_core.contracts.errors import LONGEST, FormatError, ShapeError, ZigAIError, escape, quote

HOSTILE = [
    "two\nlines\r\n",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.exe\u2028\x85",
    "\ud800 alone",
    "x" * 70_000,
    "\0" * 70_000,
    b"\xff\n" * 40_000,
    10**5000,
    np.arange(1_000_000),
    [["x" * 1000] * 1000] * 3,
    {"key": "y" * 1000},
    np.float32("nan"),
    None,
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: type(value).__name__)
def test_a_quoted_value_is_short_and_printable(value: object) -> None:
    assert len(quote(value)) <= 80
    assert quote(value).isprintable()
    assert len(quote(value, 20)) <= 20


def test_a_short_value_is_quoted_as_repr_does() -> None:
    for value in ("a", "it's", "a\\b\n", b"GGUF\0", 3, 1.5, True, None, [1, 2], ("a",), "é☃"):
        shown = repr(list(value)) if isinstance(value, tuple) else repr(value)
        assert quote(value) == shown
    assert quote(np.float32(1.5)) == "1.5"
    assert quote(np.array([1, 2, 3, 4, 5])) == "[1, 2, 3, 4, …]"


def test_a_value_whose_repr_fails_is_quoted_by_its_type() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Odd" in quote(Odd())


def test_a_text_that_is_too_long_loses_its_middle() -> None:
    assert escape("start" + "x" * 70_000 + "end", 20) == "startxxxxxxxxx…xxend"
    assert escape("short") == "short"
    assert escape("a\nb") == "a\\nb"


@pytest.mark.parametrize("kind", [ZigAIError, FormatError, ShapeError])
def test_an_error_is_one_printable_line_of_bounded_length(kind: type[ZigAIError]) -> None:
    error = kind("/tmp/a\x1b[2J\nb: " + "x" * 70_000 + " is wrong; repair it")
    assert str(error).isprintable()
    assert len(str(error)) <= LONGEST
    assert str(error).startswith("/tmp/a\\x1b[2J b: xxx")
    assert str(error).endswith("is wrong; repair it")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args) == (kind, error.args)
