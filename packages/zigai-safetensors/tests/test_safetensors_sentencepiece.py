"""tokenizer.model: its fields, the tokens that other files add, and damage."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors import limits
from zigai_safetensors.tokenizer import read_tokenizer

PIECES = [
    ("<unk>", 0.0, 2),
    ("<s>", 0.0, 3),
    ("</s>", 0.0, 3),
    ("<0x00>", 0.0, 6),
    ("a", -1.5, 1),
    ("b", -2.0, 4),
]
BPE = {3: 2, 35: 1}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(values: dict[int, Any]) -> bytes:
    """A message: numbers become varints, floats four bytes, and bytes as they are."""
    out = b""
    for number, value in values.items():
        if isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def model(
    trainer: dict[int, Any] = BPE, normalizer: dict[int, Any] | None = None, more: bytes = b""
) -> bytes:
    pieces = b"".join(message({1: message({1: t.encode(), 2: s, 3: k})}) for t, s, k in PIECES)
    return pieces + message({2: message(trainer), 3: message(normalizer or {1: b"identity"})}) + more


def read(folder: Path, data: bytes, settings: dict[str, Any] | None = None) -> TokenizerSpec:
    (folder / "tokenizer.model").write_bytes(data)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings or {}))
    spec = read_tokenizer(folder, [], 0)
    assert spec is not None
    return spec


def test_a_model_is_read(tmp_path: Path) -> None:
    spec = read(tmp_path, model())
    assert (spec.kind, list(spec.tokens)) == ("llama", [text for text, _, _ in PIECES])
    assert spec.scores is not None
    assert spec.types is not None
    assert (spec.scores.tolist(), spec.types.tolist()) == ([0, 0, 0, 0, -1.5, -2], [2, 3, 3, 6, 1, 4])
    assert spec.special_ids == {"unknown": 0, "bos": 1, "eos": 2}
    assert (spec.end_ids, spec.add_bos) == ({2}, True)
    assert (spec.add_space_prefix, spec.remove_extra_whitespaces) == (True, True)
    assert spec.precompiled_charsmap is None


def test_settings_of_the_model_are_read(tmp_path: Path) -> None:
    trainer = {**BPE, 40: 0, 41: -1, 42: 1, 43: 2}
    spec = read(tmp_path, model(trainer, {2: b"map", 3: 0, 4: 0, 5: 1}))
    assert spec.special_ids == {"unknown": 0, "eos": 1, "padding": 2}
    assert (spec.add_bos, spec.add_space_prefix, spec.remove_extra_whitespaces) == (False, False, False)
    assert spec.precompiled_charsmap == b"map"


def test_other_files_add_tokens_and_name_roles(tmp_path: Path) -> None:
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<x>": 7, "<tool>": 6}))
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "eos_token": "<tool>",
        "pad_token": {"content": "<unk>"},
        "added_tokens_decoder": {
            "0": {"content": "<unk>", "special": True},
            "1": {"content": "<s>", "special": True},
            "4": {"content": "a", "special": True},
            "6": {"content": "<tool>", "special": True, "rstrip": True},
        },
    }
    spec = read(tmp_path, model(), settings)
    assert list(spec.tokens)[5:] == ["b", "<tool>", "<x>"]
    assert spec.scores is not None
    assert spec.types is not None
    assert spec.scores.tolist()[5:] == [-2, 0, 0]
    assert spec.types.tolist() == [2, 3, 3, 6, 3, 4, 3, 4]
    assert spec.special_ids == {"unknown": 0, "bos": 1, "eos": 6, "padding": 0}
    assert (spec.end_ids, spec.strip_right) == ({6}, {6})
    assert (spec.add_bos, spec.add_space_prefix) == (False, False)


def test_tokenizer_json_alone_decides_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordLevel"}}')
    with pytest.raises(UnsupportedError, match=r"tokenizer\.json: a tokenizer of type 'WordLevel'"):
        read(tmp_path, model())


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (model({3: 1}), "trainer_spec.model_type is Unigram"),
        (model({}), "trainer_spec.model_type is Unigram"),
        (model({3: 9}), "trainer_spec.model_type is 9"),
        (model({**BPE, 24: 1}), "trainer_spec.treat_whitespace_as_suffix"),
        (model(normalizer={5: 0}), "normalizer_spec.escape_whitespaces"),
        (model(more=message({5: message({2: b"x"})})), "denormalizer_spec.precompiled_charsmap"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, data: bytes, error: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        read(tmp_path, data)
    assert error in str(caught.value)
    assert "tokenizer.model" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "byte 0: has no pieces"),
        (b"\x0a\x05\x0a\x09", "byte 0: the field 1 has 5 bytes where 2 are left"),
        (b"\x0a\x03\x0a\x09a", "byte 2: the field 1 has 9 bytes where 1 are left"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "byte 1: a number does not end"),
        (b"\x0a\x80", "byte 1: a number does not end"),
        (b"\x0b", "byte 0: the field 1 has the wire type 3"),
        (b"\x0a\x03\x0a\x01\xff", "byte 4: is not UTF-8 text"),
        (message({1: message({1: b"a", 3: 7})}), "the piece 'a' is of type 7"),
        (b"IQ== 0\nIg== 1\n", "byte "),
    ],
)
def test_damage_is_named_with_its_byte(tmp_path: Path, data: bytes, error: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(tmp_path, data)
    assert error in str(caught.value)
    assert "tokenizer.model: byte" in str(caught.value)


def test_every_cut_and_every_changed_byte_is_read_or_refused(tmp_path: Path) -> None:
    whole = model(normalizer={2: b"map", 3: 0})
    for end in range(len(whole)):
        for data in (whole[:end], whole[:end] + bytes([whole[end] ^ 0x85]) + whole[end + 1 :]):
            try:
                read(tmp_path, data)
            except (FormatError, UnsupportedError):
                continue


def test_a_file_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SENTENCEPIECE_BYTES", 10)
    with pytest.raises(FormatError, match="at most 10 are read"):
        read(tmp_path, model())
    with pytest.raises(FormatError, match="add_bos_token is 1"):
        monkeypatch.undo()
        read(tmp_path, model(), {"add_bos_token": 1})
