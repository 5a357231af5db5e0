"""tokenizer.json of BPE of characters: which steps are understood, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_safetensors.tokenizer import read_tokenizer

REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
PREPEND = {"type": "Prepend", "prepend": "\u2581"}
LLAMA = {"type": "Sequence", "normalizers": [PREPEND, REPLACE]}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
NO_SPACE = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
DIGITS = {"type": "Digits", "individual_digits": True}
BACK = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
DECODER = {"type": "Sequence", "decoders": [BACK, {"type": "ByteFallback"}, {"type": "Fuse"}, STRIP]}
FILE: dict[str, Any] = {
    "added_tokens": [{"id": 260, "content": "<s>", "special": True, "rstrip": True}],
    "normalizer": REPLACE,
    "pre_tokenizer": NO_SPACE,
    "decoder": DECODER,
    "model": {
        "type": "BPE",
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": {
            **{f"<0x{byte:02X}>": byte for byte in range(256)},
            "\u2581": 256,
            "a": 257,
            "\u2581a": 258,
            "<unk>": 259,
        },
        "merges": ["\u2581 a"],
    },
}


def folder(tmp_path: Path, **changed: Any) -> Path:
    model = FILE["model"] | changed.pop("model", {})
    (tmp_path / "tokenizer.json").write_text(json.dumps({**FILE, "model": model, **changed}))
    return tmp_path


def test_a_vocabulary_with_byte_fallback_is_read(tmp_path: Path) -> None:
    spec = read_tokenizer(folder(tmp_path), [260], 300)
    assert spec is not None
    assert (spec.kind, spec.splits, spec.normalizer) == ("bpe", (), None)
    assert (list(spec.tokens)[255:], list(spec.merges or ())) == (
        ["<0xFF>", "\u2581", "a", "\u2581a", "<unk>", "<s>"],
        ["\u2581 a"],
    )
    assert spec.types is not None
    assert spec.types.tolist() == [6] * 256 + [1] * 4 + [3]
    assert (spec.strip_left, spec.strip_right, spec.normalized) == (frozenset(), {260}, frozenset())
    assert spec.end_ids == {260}


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "prefix", "splits"),
    [
        (REPLACE, None, (False, "prepend"), ()),
        (REPLACE, NO_SPACE, (False, "prepend"), ()),
        (LLAMA, None, (True, "prepend"), ()),
        (None, METASPACE, (True, "first"), ()),
        (None, {**METASPACE, "prepend_scheme": "always"}, (True, "always"), ()),
        (None, {**METASPACE, "prepend_scheme": "never"}, (False, "always"), ()),
        (
            None,
            {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True},
            (True, "always"),
            ("\u2581[^\u2581]*",),
        ),
        (REPLACE, DIGITS, (False, "prepend"), (r"\p{N}",)),
        (
            None,
            {"type": "Sequence", "pretokenizers": [METASPACE, DIGITS]},
            (True, "first"),
            (r"\p{N}",),
        ),
    ],
)
def test_steps_become_settings(
    tmp_path: Path, normalizer: Any, pre_tokenizer: Any, prefix: Any, splits: Any
) -> None:
    spec = read_tokenizer(folder(tmp_path, normalizer=normalizer, pre_tokenizer=pre_tokenizer), [], 0)
    assert spec is not None
    assert ((spec.add_space_prefix, spec.prefix_scheme), spec.splits) == (prefix, splits)


def test_nfc_is_kept(tmp_path: Path) -> None:
    steps = {"type": "Sequence", "normalizers": [{"type": "NFC"}, REPLACE]}
    spec = read_tokenizer(folder(tmp_path, normalizer=steps), [], 0)
    assert spec is not None
    assert spec.normalizer == "NFC"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"normalizer": None}, "pre_tokenizer: the step"),
        ({"normalizer": None, "pre_tokenizer": None}, "makes U+2581 of spaces"),
        ({"normalizer": PREPEND, "pre_tokenizer": None}, "makes U+2581 of spaces"),
        ({"normalizer": {**PREPEND, "prepend": "x"}}, "normalizer: the step"),
        ({"normalizer": {**REPLACE, "content": "_"}}, "normalizer: the step"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "normalizer: the step"),
        ({"normalizer": {"type": "Sequence", "normalizers": [REPLACE, REPLACE]}}, "normalizer: the step"),
        ({"pre_tokenizer": METASPACE}, "pre_tokenizer: the step"),
        ({"pre_tokenizer": {**NO_SPACE, "invert": True}}, "pre_tokenizer: the step"),
        ({"pre_tokenizer": {**NO_SPACE, "pattern": {"String": "a"}}}, "pre_tokenizer: the step"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer: the step"),
        ({"pre_tokenizer": ["x"]}, "pre_tokenizer: the step"),
        ({"normalizer": None, "pre_tokenizer": {**METASPACE, "replacement": "_"}}, "pre_tokenizer: the step"),
        ({"normalizer": None, "pre_tokenizer": {**METASPACE, "prepend_scheme": "x"}}, "the step"),
        ({"normalizer": None, "pre_tokenizer": {**METASPACE, "add_prefix_space": False}}, "the step"),
        (
            {"normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [DIGITS, METASPACE]}},
            "pre_tokenizer: the step",
        ),
        ({"decoder": None}, "the decoder None does not make spaces"),
        ({"decoder": {"type": "WordPiece"}}, "decoder: the step"),
        ({"decoder": {"type": "Sequence", "decoders": [BACK, {**STRIP, "start": 2}]}}, "decoder: the step"),
        ({"post_processor": {"type": "OtherProcessing"}}, "post_processor: the step"),
        ({"model": {"byte_fallback": False}}, "nor BPE with model.byte_fallback"),
        ({"model": {"dropout": 0.5}}, "model.dropout is 0.5"),
        ({"model": {"end_of_word_suffix": "</w>"}}, "model.end_of_word_suffix is '</w>'"),
        ({"model": {"type": "WordLevel"}}, "a tokenizer of type 'WordLevel' is not read"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    tmp_path: Path, changed: dict[str, Any], error: str
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        read_tokenizer(folder(tmp_path, **changed), [], 0)
    assert error in str(caught.value)
    assert "tokenizer.json" in str(caught.value)
