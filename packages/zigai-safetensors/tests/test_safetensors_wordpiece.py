"""tokenizer.json of WordPiece: which steps are understood, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.descriptor import WordNormalization
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors.tokenizer import read_tokenizer

NORMALIZER = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
TEXTS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "fox",
    "##es",
    "##e",
    "世",
    "é",
    "e",
    "a",
    "##a",
    "[",
    ".",
]
OUTER = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
PROCESSOR: dict[str, Any] = {
    "type": "TemplateProcessing",
    "single": [*OUTER, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "pair": [
        *OUTER,
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
    ],
    "special_tokens": {
        text: {"id": text, "ids": [token], "tokens": [text]} for text, token in (("[CLS]", 2), ("[SEP]", 3))
    },
}
BERT_PROCESSOR = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
FILE: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [{"id": token, "content": text, **FLAGS} for token, text in enumerate(TEXTS[:4])],
    "normalizer": NORMALIZER,
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": PROCESSOR,
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {text: token for token, text in enumerate(TEXTS)},
    },
}


def folder(tmp_path: Path, **changed: Any) -> Path:
    model = FILE["model"] | changed.pop("model", {})
    normalizer = changed.pop("normalizer", NORMALIZER)
    if isinstance(normalizer, dict):
        normalizer = {**NORMALIZER, **normalizer}
    file = {**FILE, "normalizer": normalizer, "model": model, **changed}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    return tmp_path


def test_a_vocabulary_of_wordpiece_is_read(tmp_path: Path) -> None:
    spec = read_tokenizer(folder(tmp_path), [], 300)
    assert spec is not None
    assert (spec.kind, list(spec.tokens), spec.merges, spec.splits) == ("bert", TEXTS, None, None)
    assert spec.types is not None
    assert spec.types.tolist() == [3] * 4 + [1] * 11
    assert spec.special_ids == {"bos": 2, "eos": 3, "unknown": 1}
    assert (spec.add_bos, spec.add_eos, spec.end_ids) == (True, True, {3})
    assert (spec.words, spec.continuing_prefix, spec.longest_word) == (WordNormalization(), "##", 100)


def test_the_unknown_token_is_that_of_the_model(tmp_path: Path) -> None:
    """tokenizer_config.json may name another."""
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"unk_token": "[PAD]", "pad_token": "[PAD]"}))
    spec = read_tokenizer(folder(tmp_path), [], 300)
    assert spec is not None
    assert spec.special_ids == {"bos": 2, "eos": 3, "unknown": 1, "padding": 0}


SEQUENCE = {"type": "Sequence", "normalizers": [{"type": "NFC"}, NORMALIZER]}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"normalizer": None}, "normalizer: the step None is not supported with WordPiece; one BertNorm"),
        ({"normalizer": SEQUENCE, "added_tokens": []}, "normalizer: the step .* is not supported"),
        ({"normalizer": {"lowercase_more": True}}, "normalizer: 'lowercase_more' of BertNormalizer"),
        ({"pre_tokenizer": None}, "pre_tokenizer: the step None is not supported"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}},
            "pre_tokenizer: the step .*Sequence.* is not supported",
        ),
        (
            {"pre_tokenizer": {"type": "Whitespace"}},
            "pre_tokenizer: the step .*Whitespace.* is not supported",
        ),
        ({"decoder": {"type": "Fuse"}}, "decoder: the step .*Fuse.* is not supported with WordPiece"),
        ({"post_processor": {"type": "OtherProcessing"}}, "post_processor: the step .*Other"),
        ({"model": {"continuing_subword_prefix": ""}}, "model.continuing_subword_prefix is empty"),
        (
            {"model": {"type": "WordLevel"}},
            "a tokenizer of type 'WordLevel' is not read; BPE, WordPiece and Unigram are",
        ),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, changed: dict[str, Any], error: str) -> None:
    if changed.get("normalizer") is SEQUENCE:
        file = {**FILE, "normalizer": SEQUENCE}
        (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    else:
        folder(tmp_path, **changed)
    with pytest.raises(UnsupportedError, match=f"tokenizer.json: {error}"):
        read_tokenizer(tmp_path, [], 300)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"normalizer": {"lowercase": 1}}, "normalizer: lowercase is 1, but must be true or false"),
        ({"normalizer": {"clean_text": None}}, "normalizer: clean_text is None, but must be true or false"),
        ({"normalizer": {"strip_accents": "no"}}, "normalizer: strip_accents is 'no', but must be"),
        ({"model": {"unk_token": "[NONE]"}}, r"model.unk_token is '\[NONE\]', which is not a token"),
        ({"model": {"unk_token": None}}, "model.unk_token is None, which is not a token"),
        ({"model": {"continuing_subword_prefix": 3}}, "continuing_subword_prefix is 3, but must be a text"),
        ({"model": {"max_input_chars_per_word": -1}}, "max_input_chars_per_word is -1, but must be a whole"),
        ({"model": {"max_input_chars_per_word": True}}, "max_input_chars_per_word is True, but must be"),
        ({"post_processor": {**BERT_PROCESSOR, "sep": ["[SEP]", 4]}}, "sep is .*, which is not a token with"),
        ({"post_processor": {**BERT_PROCESSOR, "cls": "[CLS]"}}, "cls is .*, but must be a token and its id"),
    ],
)
def test_what_is_not_valid_is_an_error(tmp_path: Path, changed: dict[str, Any], error: str) -> None:
    with pytest.raises(FormatError, match=f"tokenizer.json: .*{error}"):
        read_tokenizer(folder(tmp_path, **changed), [], 300)


def part(token: str, kind: int = 0) -> dict[str, Any]:
    name = "Sequence" if token in ("A", "B") else "SpecialToken"
    return {name: {"id": token, "type_id": kind}}


def template(*pair: Any) -> dict[str, Any]:
    return {**PROCESSOR, "pair": [*pair]}


ROBERTA = {**BERT_PROCESSOR, "type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": True}
C, S, B, D = part("[CLS]"), part("[SEP]"), part("B", 1), part("[SEP]", 1)
PAD = part("[PAD]")


@pytest.mark.parametrize(
    ("processor", "separators", "kind"),
    [
        (PROCESSOR, (3,), 1),
        (BERT_PROCESSOR, (3,), 1),
        (ROBERTA, (3, 3), 0),
        (template(C, part("A"), S, S, part("B"), S), (3, 3), 0),
        (template(C, part("A"), S, PAD, B, D), (3, 0), 1),
        (template(C, part("A"), S, B), (), 0),  # without the token that ends a text
        (template(C, part("A"), B, D), (), 0),
        (template(C, B, S, part("A"), D), (), 0),
        (template(C, part("A"), D, B, D), (), 0),
        (template(C, part("A"), S, B, S), (), 0),
        (template(C, part("A"), S, part("B", 2), part("[SEP]", 2)), (), 0),
        (template(C, part("A"), S, part("A"), B, D), (), 0),
        (template(C, part("A"), part("[NONE]"), B, D), (), 0),
        ({**PROCESSOR, "pair": None}, (), 0),
        ({**PROCESSOR, "pair": [3, "x", {}]}, (), 0),
    ],
)
def test_the_form_of_pairs_is_that_of_the_post_processor(
    processor: Any, separators: tuple[int, ...], kind: int, tmp_path: Path
) -> None:
    spec = read_tokenizer(folder(tmp_path, post_processor=processor), [], 300)
    assert spec is not None
    assert (spec.separators, spec.second_type) == (separators, kind)
    assert (spec.add_bos, spec.add_eos) == (True, True)


@pytest.mark.parametrize(("inputs", "kind"), [(["input_ids"], 0), (["input_ids", "token_type_ids"], 1)])
def test_a_model_that_is_given_no_types_has_none_in_pairs(inputs: Any, kind: int, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_input_names": inputs}))
    spec = read_tokenizer(folder(tmp_path), [], 300)
    assert spec is not None
    assert (spec.separators, spec.second_type) == ((3,), kind)
