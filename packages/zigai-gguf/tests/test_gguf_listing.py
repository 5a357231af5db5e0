"""Metadata as lines of text and as JSON, and the keys that an unknown one may be meant for."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.errors import FormatError
from zigai_core.contracts.hyperparameter_keys import NEUTRAL
from zigai_gguf import GGUFFile
from zigai_gguf.known_keys import check_present, known, meant_by
from zigai_gguf.listing import as_text, json_text, type_name

Build = Callable[..., Path]
U8, U32, FLOAT32, BOOL, STRING, ARRAY, FLOAT64 = 0, 4, 6, 7, 8, 9, 12


def keys(raw: Any) -> list[bytes]:
    nested = struct.pack("<IQ", ARRAY, 2) + struct.pack("<IQ2f", FLOAT32, 2, 0.1, 2.0)
    nested += struct.pack("<IQ", STRING, 1) + raw.text("x")
    return [
        raw.architecture,
        raw.key("t.text", STRING, raw.text("a\x1b[2J\n\u202eb")),
        raw.key("t.long", STRING, raw.text("A" * 200 + "Z" * 200)),
        raw.key("t.bytes", STRING, raw.text(b"a\xffb")),
        raw.key("t.flag", BOOL, b"\1"),
        raw.key("t.f32", FLOAT32, struct.pack("<f", 0.1)),
        raw.key("t.f64", FLOAT64, struct.pack("<d", 0.1 + 0.2)),
        raw.key("t.nan", FLOAT32, struct.pack("<f", float("nan"))),
        raw.numbers("t.scores", FLOAT32, "f", [0.1, float("inf"), -2.5]),
        raw.numbers("t.many", U8, "B", [number % 200 for number in range(40_000)]),
        raw.strings("t.words", ["one", "two\x07", "x" * 100]),
        raw.strings("t.wrong", [b"\xff"]),
        raw.numbers("t.none", U32, "I", []),
        raw.key("t.nested", ARRAY, nested),
    ]


def test_a_line_shows_the_beginning_of_long_values_and_no_control_characters(build: Build, raw: Any) -> None:
    typed = GGUFFile.open(build(keys=keys(raw))).metadata.typed()
    lines = {key: f"{type_name(value)} {''.join(as_text(value))}" for key, value in typed.items()}
    assert lines["general.architecture"] == "STRING llama"
    assert lines["t.text"] == r"STRING a\x1b[2J\n\u202eb"
    assert lines["t.long"].startswith("STRING AAAA")
    assert lines["t.long"].endswith("ZZZZ")
    assert len(lines["t.long"]) == len("STRING ") + 100
    assert lines["t.bytes"] == "STRING a\ufffdb"
    assert lines["t.flag"] == "BOOL true"
    assert lines["t.f32"] == "FLOAT32 0.1"
    assert lines["t.f64"] == "FLOAT64 0.30000000000000004"
    assert lines["t.nan"] == "FLOAT32 nan"
    assert lines["t.scores"] == "FLOAT32[3] [0.1, inf, -2.5]"
    assert lines["t.many"] == "UINT8[40000] [0, 1, 2, 3, 4, 5, … 40,000 in all]"
    assert lines["t.words"] == rf"STRING[3] ['one', 'two\x07', '{'x' * 17}…{'x' * 5}']"
    assert lines["t.none"] == "UINT32[0] []"
    assert lines["t.nested"] == "ARRAY[2] [[2 elements], [1 elements]]"
    assert all(line.isprintable() for line in lines.values())


def test_a_value_that_is_asked_for_is_whole(build: Build, raw: Any) -> None:
    typed = GGUFFile.open(build(keys=keys(raw))).metadata.typed()
    lines = {key: "".join(as_text(value, whole=True)) for key, value in typed.items()}
    assert lines["t.long"] == "A" * 200 + "Z" * 200
    assert lines["t.many"] == str([number % 200 for number in range(40_000)])
    assert lines["t.words"] == rf"['one', 'two\x07', '{'x' * 100}']"
    assert lines["t.nested"] == "[[0.1, 2.0], ['x']]"
    assert lines["t.scores"] == "[0.1, inf, -2.5]"
    assert lines["t.none"] == "[]"
    assert all(line.isprintable() for line in lines.values())


def test_json_has_whole_arrays_and_texts(build: Build, raw: Any) -> None:
    metadata = GGUFFile.open(build(keys=keys(raw))).metadata
    text = "".join(json_text(metadata, list(metadata)))
    assert text.isascii()
    assert "\x1b" not in text
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(found) == list(metadata)
    assert found["general.architecture"] == {"type": "STRING", "value": "llama"}
    assert found["t.text"]["value"] == "a\x1b[2J\n\u202eb"
    assert found["t.long"]["value"] == "A" * 200 + "Z" * 200
    assert found["t.bytes"] == {"type": "STRING", "utf8": False, "value": "a\ufffdb"}
    assert found["t.flag"] == {"type": "BOOL", "value": True}
    assert found["t.f32"]["value"] == 0.1
    assert found["t.f64"]["value"] == 0.1 + 0.2
    assert found["t.nan"]["value"] == "nan"
    assert found["t.scores"] == {"type": "FLOAT32", "count": 3, "value": [0.1, "inf", -2.5]}
    assert found["t.many"]["value"] == [number % 200 for number in range(40_000)]
    assert found["t.words"]["value"] == ["one", "two\x07", "x" * 100]
    assert found["t.wrong"] == {"type": "STRING", "count": 1, "utf8": False, "value": ["\ufffd"]}
    assert found["t.none"] == {"type": "UINT32", "count": 0, "value": []}
    assert found["t.nested"] == {"type": "ARRAY", "count": 2, "value": [[0.1, 2.0], ["x"]]}
    assert list(json.loads("".join(json_text(metadata, ["t.flag"])))) == ["t.flag"]
    assert json.loads("".join(json_text(metadata, []))) == {}


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("general.name", []),
        ("general.nam", ["general.name"]),
        ("name", ["general.name"]),
        ("llama.rope_freq_base", ["llama.rope.freq_base"]),
        ("rope.freq_base", ["llama.rope.freq_base"]),
        ("rope.freq_bsae", ["llama.rope.freq_base"]),
        ("qwen2.block_count", ["llama.block_count"]),
        ("chat_template", ["tokenizer.chat_template"]),
        ("tokenizer.chat_template.tools", []),
        ("general.base_model.0.name", []),
        ("General.Name", ["general.name"]),
        ("LLAMA.ROPE.FREQ_BASE", ["llama.rope.freq_base"]),
        ("Block_Count", ["llama.block_count"]),
        ("llama.rope.scale_linaer", ["llama.rope.scale_linear"]),
        ("mine.level", []),
        ("a", []),
        ("x" * 60_000, []),
    ],
)
def test_an_unknown_key_is_meant_for_one_that_is_like_it(key: str, meant: list[str]) -> None:
    assert meant_by(key, known(["llama"]), ["llama"])[: len(meant) or 3] == meant


def test_a_key_that_zigai_reads_or_writes_is_known() -> None:
    written = {f"llama.{key}" for key in [*NEUTRAL, "attention.value_length", "rope.dimension_count"]}
    assert written <= {*known(["llama"])}
    assert len(known(["llama"])) == len({*known(["llama"])})
    for key in written:
        assert meant_by(key, known(["llama"]), ["llama"]) == []


def test_a_key_that_a_file_lacks_is_named_with_those_like_it(build: Build, raw: Any) -> None:
    path = build(keys=[raw.architecture, raw.key("llama.block_count", U32, struct.pack("<I", 1))])
    metadata = GGUFFile.open(path).metadata
    check_present(path, ["llama.block_count"], metadata)
    with pytest.raises(FormatError, match=r"has no metadata 'block\\x1b_count'; did you mean 'llama\.block"):
        check_present(path, ["block\x1b_count"], metadata)
    with pytest.raises(FormatError, match=r"has no metadata 'zzz'$"):
        check_present(path, ["zzz"], metadata)
