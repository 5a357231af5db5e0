"""tokenizer.json of Unigram, read and encoded, against the tokenizers library; and as a GGUF file."""

from __future__ import annotations

import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from zigai_core.testing.tokenizer.texts import ordinary_text, sample_texts
from zigai_gguf.scored import by_scores
from zigai_safetensors.protobuf import fields
from zigai_safetensors.tokenizer import read_tokenizer
from zigai_tokenizers.sentencepiece_unigram import SentencePieceUnigramTokenizer
from zigai_tokenizers.unigram import UnigramTokenizer


def trained() -> bytes:
    """A model of sentencepiece with the pieces of XLM-R's specials, in its order."""
    model = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(ordinary_text(20_000).split("\n")),
        model_writer=model,
        model_type="unigram",
        vocab_size=300,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return model.getvalue()


MODEL = trained()
PATH = Path("model")
[NORMALIZER] = [field for field in fields(MODEL, 0, len(MODEL), PATH) if field.number == 3]
[CHARSMAP] = [
    MODEL[field.begin : field.end]
    for field in fields(MODEL, NORMALIZER.begin, NORMALIZER.end, PATH)
    if field.number == 2
]
LIBRARY = SentencePieceProcessor(model_proto=MODEL)
VOCAB = [[LIBRARY.id_to_piece(token), LIBRARY.get_score(token)] for token in range(LIBRARY.vocab_size())]
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": b64encode(CHARSMAP).decode()}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
BEFORE = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]}
SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}
STRIP = {"type": "Strip", "strip_left": False, "strip_right": True}
TOKENS = {"<s>": 0, "</s>": 2}
FILE: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        *({"id": token, "content": VOCAB[token][0], **FLAGS} for token in range(4)),
        {"id": len(VOCAB), "content": "<mask>", **FLAGS, "lstrip": True},
    ],
    "normalizer": PRECOMPILED,
    "pre_tokenizer": BEFORE,
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            text: {"id": text, "ids": [token], "tokens": [text]} for text, token in TOKENS.items()
        },
    },
    "decoder": METASPACE,
    "model": {"type": "Unigram", "unk_id": 3, "vocab": VOCAB, "byte_fallback": False},
}


def write(folder: Path, **changed: Any) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps({**FILE, **changed}))
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {
            "normalizer": {"type": "Sequence", "normalizers": [PRECOMPILED, STRIP, SPACES]},
            "pre_tokenizer": METASPACE,
        },
        {"normalizer": None, "pre_tokenizer": {**METASPACE, "prepend_scheme": "first", "split": False}},
        {"normalizer": {"type": "NFKC"}, "pre_tokenizer": {**METASPACE, "prepend_scheme": "never"}},
    ],
)
def test_texts_have_the_ids_of_the_library(tmp_path: Path, changed: dict[str, Any]) -> None:
    spec = read_tokenizer(write(tmp_path, **changed), [], 500)
    assert spec is not None
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ours = UnigramTokenizer(spec)
    for text in ["a <mask> b</s>c", " <s> a", *sample_texts(500), ordinary_text(50_000)]:
        assert [*ours.encode(text, special=True), spec.special_ids["eos"]] == library.encode(text).ids


def test_words_have_the_same_ids_in_a_gguf_file(tmp_path: Path) -> None:
    """Of texts that both normalisations leave alike; llama.cpp's kind is that of sentencepiece."""
    spec = read_tokenizer(write(tmp_path), [], 500)
    assert spec is not None
    assert by_scores(spec, tmp_path).kind == "t5"
    there, here = SentencePieceUnigramTokenizer(by_scores(spec, tmp_path)), UnigramTokenizer(spec)
    for text in [
        "the ﬁrst  café, “quoted” １２３ 中文 <mask> of </s>",
        " ".join(ordinary_text(3000).split()),
    ]:
        assert there.encode(text, special=True) == here.encode(text, special=True)
