"""`zig-ai tokenize`: text to token ids and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runner import zig_ai

pytestmark = pytest.mark.usefixtures("plugins")


def test_tokenize_shows_ids_and_pieces(model: Path) -> None:
    assert zig_ai("tokenize", "-m", model, "hi").stdout.split() == [
        "1",
        "'<s>'",
        "107",
        "'<0x68>'",
        "108",
        "'<0x69>'",
    ]
    assert zig_ai("tokenize", "-m", model, "hi", "--ids-only").stdout == "1 107 108\n"
    assert zig_ai("tokenize", "-m", model, "--ids-only", "--no-bos", input="hi\n").stdout == "107 108\n"
    assert zig_ai("tokenize", "-m", model, "</s>", "--special", "--no-bos", "--ids-only").stdout == "2\n"
    answer = json.loads(zig_ai("tokenize", "-m", model, "hi", "--json").stdout)
    assert answer["tokens"][1] == {"id": 107, "piece": "<0x68>"}


def test_tokenize_writes_many_tokens_in_the_same_formats_as_few(model: Path) -> None:
    few = zig_ai("tokenize", "-m", model, input="x y" * 333).stdout.splitlines()
    text = "x y" * 2000
    many = zig_ai("tokenize", "-m", model, input=text).stdout.splitlines()
    assert many[:1000] == few[:1000]
    assert len(many) == 6001
    ids = zig_ai("tokenize", "-m", model, "--ids-only", input=text).stdout
    assert ids.split() == [line.split()[0] for line in many]
    answer = json.loads(zig_ai("tokenize", "-m", model, "--json", input=text).stdout)
    assert answer["text"] == text
    assert [str(token["id"]) for token in answer["tokens"]] == ids.split()
    assert json.loads(zig_ai("tokenize", "-m", model, "--no-bos", "--json", "").stdout) == {
        "text": "",
        "tokens": [],
    }


def test_tokenize_with_decode_prints_the_text_of_token_ids(model: Path) -> None:
    assert zig_ai("tokenize", "-m", model, "--decode", 107, 108).stdout == "hi\n"
    assert zig_ai("tokenize", "-m", model, "--decode", input="[107, 108]\n").stdout == "hi\n"
    assert zig_ai("tokenize", "-m", model, "--decode", "--special", 1, 107).stdout == "<s>h\n"
    for option in ("--ids-only", "--no-bos"):
        assert zig_ai("tokenize", "-m", model, "--decode", option, 107).exit_code == 2
    for wrong in ("x", "-1", "99999"):
        result = zig_ai("tokenize", "-m", model, "--decode", "--", wrong)
        assert result.exit_code == 1
        assert wrong in result.stderr


def test_tokenize_needs_no_architecture(make_model: Callable[..., Path]) -> None:
    assert zig_ai("tokenize", "-m", make_model(architecture="strange"), "hi", "--ids-only").exit_code == 0
