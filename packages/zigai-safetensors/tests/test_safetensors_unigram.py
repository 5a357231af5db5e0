"""tokenizer.json of Unigram: which steps are understood, and which are refused."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors.tokenizer import read_tokenizer

FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
VOCAB: list[list[Any]] = [
    ["<s>", 0.0],
    ["<pad>", 0],
    ["</s>", 0.0],
    ["<unk>", 0.0],
    ["\u2581", -2.5],
    ["a", -3.0000000001],
]
CHARSMAP = b"\x01\x02\x03 the map"
PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": b64encode(CHARSMAP).decode()}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
WHITE = {"type": "WhitespaceSplit"}
SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}
STRIP = {"type": "Strip", "strip_left": False, "strip_right": True}
OUTER = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
FILE: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        *({"id": token, "content": VOCAB[token][0], **FLAGS} for token in range(4)),
        {"id": 6, "content": "<mask>", **FLAGS, "lstrip": True},
    ],
    "normalizer": {"type": "Sequence", "normalizers": [PRECOMPILED, STRIP, SPACES]},
    "pre_tokenizer": METASPACE,
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [*OUTER, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    },
    "decoder": METASPACE,
    "model": {"type": "Unigram", "unk_id": 3, "vocab": VOCAB, "byte_fallback": False},
}


def folder(tmp_path: Path, **changed: Any) -> Path:
    model = FILE["model"] | changed.pop("model", {})
    (tmp_path / "tokenizer.json").write_text(json.dumps({**FILE, "model": model, **changed}))
    return tmp_path


def test_a_vocabulary_of_unigram_is_read(tmp_path: Path) -> None:
    spec = read_tokenizer(folder(tmp_path), [], 300)
    assert spec is not None
    assert (spec.kind, list(spec.tokens)) == ("unigram", [*(text for text, _ in VOCAB), "<mask>"])
    assert spec.scores is not None
    assert (spec.scores.dtype, spec.scores.tolist()) == (
        np.dtype(np.float64),
        [0, 0, 0, 0, -2.5, -3.0000000001, -np.inf],
    )
    assert spec.types is not None
    assert spec.types.tolist() == [3, 3, 3, 3, 1, 1, 3]
    assert spec.special_ids == {"bos": 0, "eos": 2, "unknown": 3}
    assert (spec.add_bos, spec.add_eos, spec.end_ids) == (True, True, {2})
    assert spec.precompiled_charsmap == CHARSMAP
    assert spec.normalizers == (("Precompiled",), ("Strip", "right"), ("Spaces", "\u2581"))
    assert (spec.add_space_prefix, spec.prefix_scheme, spec.splits) == (True, "always", ("\u2581[^\u2581]*",))
    assert (spec.white_space_ends_words, spec.strip_left) == (False, {6})


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"normalizer": PRECOMPILED}, {"normalizers": (("Precompiled",),)}),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [
                        {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
                        {"type": "NFKD"},
                        {"type": "Strip", "strip_left": True, "strip_right": True},
                    ],
                }
            },
            {
                "normalizers": (("Replace", "``", '"'), ("NFKD",), ("Strip", "left right")),
                "precompiled_charsmap": None,
            },
        ),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [WHITE, METASPACE]}},
            {"white_space_ends_words": True, "splits": ("\u2581[^\u2581]*",)},
        ),
        (
            {"pre_tokenizer": {**METASPACE, "prepend_scheme": "never", "split": False}},
            {"add_space_prefix": False, "splits": ()},
        ),
        (
            {"normalizer": None, "pre_tokenizer": {**METASPACE, "prepend_scheme": "first"}},
            {"prefix_scheme": "first"},
        ),
        (
            {"model": {"byte_fallback": True, "vocab": [*VOCAB, ["<0x00>", -9.0]]}, "added_tokens": []},
            {"types": [1, 1, 1, 1, 1, 1, 6]},
        ),
        (
            {"model": {"vocab": [*VOCAB, ["<0x00>", -9.0]]}, "added_tokens": []},
            {"types": [1, 1, 1, 1, 1, 1, 1]},
        ),
    ],
)
def test_steps_and_settings_are_fields(
    tmp_path: Path, changed: dict[str, Any], fields: dict[str, Any]
) -> None:
    spec = read_tokenizer(folder(tmp_path, **changed), [], 300)
    assert spec is not None
    found = {key: getattr(spec, key) for key in fields}
    assert {key: list(value) if key == "types" else value for key, value in found.items()} == fields


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        (
            {"normalizer": {"type": "BertNormalizer"}},
            "normalizer: the step .*BertNormalizer.* is not supported",
        ),
        (
            {"normalizer": {**SPACES, "content": "xy"}},
            "normalizer: the step .* is not supported with Unigram",
        ),
        ({"normalizer": {**SPACES, "pattern": {"Regex": " +"}}}, "normalizer: the step .* is not supported"),
        ({"normalizer": {**STRIP, "strip_right": False}}, "normalizer: the step .* is not supported"),
        ({"normalizer": {"type": "NFC", "more": 1}}, "normalizer: the step .* is not supported"),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [PRECOMPILED, {**PRECOMPILED, "precompiled_charsmap": "AAAA"}],
                }
            },
            "two steps Precompiled that differ",
        ),
        ({"pre_tokenizer": None}, "pre_tokenizer: None is not supported with Unigram; Metaspace is"),
        ({"pre_tokenizer": WHITE}, "pre_tokenizer: .* is not supported with Unigram"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [METASPACE, WHITE]}},
            "pre_tokenizer: .* is not supported with Unigram",
        ),
        ({"pre_tokenizer": {**METASPACE, "replacement": "_"}}, "pre_tokenizer: the step .* is not supported"),
        ({"pre_tokenizer": {**METASPACE, "prepend_scheme": "first"}}, "prepend_scheme first of Metaspace"),
        ({"decoder": None}, "decoder None does not make spaces"),
        ({"model": {"unk_id": None}}, "model.unk_id is null"),
        ({"model": {"alpha": 0.5}}, "model.alpha of Unigram is not supported"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, changed: dict[str, Any], error: str) -> None:
    with pytest.raises(UnsupportedError, match=f"tokenizer.json: .*{error}|tokenizer.json: the {error}"):
        read_tokenizer(folder(tmp_path, **changed), [], 300)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"normalizer": {**PRECOMPILED, "precompiled_charsmap": "%%"}}, "precompiled_charsmap is not base64"),
        ({"model": {"vocab": {"a": 0}}}, "model.vocab is .*, but must be a list"),
        ({"model": {"vocab": []}}, r"model.vocab is \[\], but must be a list"),
        ({"model": {"vocab": [["a"]]}}, "model.vocab: .* is no pair of a text and a score"),
        ({"model": {"vocab": [[1, 0.5]]}}, "model.vocab: .* is no pair of a text and a score"),
        ({"model": {"vocab": [["a", "b"]]}}, "the score of 'a' is 'b'"),
        ({"model": {"vocab": [["a", True]]}}, "the score of 'a' is True"),
        ({"model": {"vocab": [["a", 1e999]]}}, "the score of 'a' is inf|Infinity"),
        ({"model": {"vocab": [["a", -(10**400)]]}}, "the score of 'a' is -1000"),
        ({"model": {"unk_id": 6}}, "model.unk_id is 6, but there are 6 tokens"),
        ({"model": {"unk_id": -1}}, "model.unk_id is -1, but there are 6 tokens"),
        ({"model": {"unk_id": True}}, "model.unk_id is True"),
        ({"model": {"byte_fallback": 1}}, "model.byte_fallback is 1, but must be true or false"),
    ],
)
def test_what_is_not_valid_is_an_error(tmp_path: Path, changed: dict[str, Any], error: str) -> None:
    with pytest.raises(FormatError, match=f"tokenizer.json: .*({error})"):
        read_tokenizer(folder(tmp_path, **changed), [], 300)
