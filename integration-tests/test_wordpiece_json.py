"""tokenizer.json of WordPiece, read and encoded, against the tokenizers library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from zigai_core.testing.tokenizer.texts import sample_texts
from zigai_safetensors.tokenizer import read_tokenizer
from zigai_tokenizers.wordpiece import WordPieceTokenizer

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


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"post_processor": BERT_PROCESSOR},
        {"normalizer": {"lowercase": False}},
        {"normalizer": {"strip_accents": False, "handle_chinese_chars": False, "clean_text": False}},
        {"model": {"max_input_chars_per_word": 2, "continuing_subword_prefix": "##e"}},
        {"model": {"unk_token": "the"}},
    ],
)
def test_texts_have_the_ids_of_the_library(tmp_path: Path, changed: dict[str, Any]) -> None:
    spec = read_tokenizer(folder(tmp_path, **changed), [], 300)
    assert spec is not None
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ours = WordPieceTokenizer(spec)
    ends = [spec.special_ids["eos"]] if spec.add_eos else []
    for text in ["The foxes É 世e the[SEP]fox", "a\u0000a", "aaa", *sample_texts(50)]:
        assert [*ours.encode(text, special=True), *ends] == library.encode(text).ids
