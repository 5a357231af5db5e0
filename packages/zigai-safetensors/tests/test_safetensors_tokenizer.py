"""tokenizer.json: what becomes of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zigai_core.api.embedding import text_end
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors.pipeline import GPT2
from zigai_safetensors.tokenizer import read_tokenizer

SPLIT = {"type": "Split", "pattern": {"Regex": r"\p{N}"}, "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}},
}
FILE: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [
        {"id": 4, "content": "<s>", "special": True},
        {"id": 5, "content": "</s>", "special": True},
        {"id": 7, "content": "<tool>", "special": False},
    ],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]},
    "post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"}, TEMPLATE]},
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3},
        "merges": [["a", "b"]],
        "ignore_merges": True,
    },
}


def folder(tmp_path: Path, settings: dict[str, Any] | None = None, **changed: Any) -> Path:
    """Write FILE with other values at its top; those of `model` are merged."""
    model = FILE["model"] | changed.pop("model", {})
    (tmp_path / "tokenizer.json").write_text(json.dumps({**FILE, "model": model, **changed}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings or {}))
    return tmp_path


def test_a_byte_level_vocabulary_is_read(tmp_path: Path) -> None:
    settings = {"eos_token": {"content": "</s>"}, "pad_token": "</s>", "unk_token": None}
    spec = read_tokenizer(folder(tmp_path, settings), [5], 16)
    assert spec is not None
    assert (spec.kind, spec.splits, spec.normalizer, spec.ignore_merges) == ("gpt2", (r"\p{N}",), "NFC", True)
    assert list(spec.tokens) == ["a", "b", "ab", "c", "<s>", "</s>", "[UNUSED6]", "<tool>"]
    assert spec.types is not None
    assert spec.types.tolist() == [1, 1, 1, 1, 3, 3, 5, 4]
    assert list(spec.merges or ()) == ["a b"]
    assert spec.special_ids == {"bos": 4, "eos": 5, "padding": 5}
    assert (spec.end_ids, spec.add_bos) == (frozenset({5}), True)


def test_steps_of_the_library_become_expressions(tmp_path: Path) -> None:
    for steps, splits in (
        ({"type": "ByteLevel", "add_prefix_space": False}, (GPT2,)),
        ({**BYTES}, ()),
        (
            {
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}],
            },
            (r"\p{N}", GPT2),
        ),
    ):
        spec = read_tokenizer(folder(tmp_path, pre_tokenizer=steps), [], 16)
        assert spec is not None
        assert tuple(spec.splits or ()) == splits


def test_without_a_template_no_token_begins_a_text(tmp_path: Path) -> None:
    spec = read_tokenizer(folder(tmp_path, post_processor=None, normalizer=None), [], 0)
    assert spec is not None
    assert (spec.add_bos, spec.normalizer, spec.special_ids) == (False, None, {})
    assert read_tokenizer(tmp_path / "absent", [], 0) is None


@pytest.mark.parametrize("begins", [True, False])
def test_a_template_may_end_texts_with_the_token_that_ends_them(tmp_path: Path, begins: bool) -> None:
    first, text = TEMPLATE["single"]
    single = [*([first] if begins else []), text, {"SpecialToken": {"id": "</s>"}}]
    template = {"post_processor": {**TEMPLATE, "single": single}}
    spec = read_tokenizer(folder(tmp_path, {"eos_token": "</s>"}, **template), [5], 16)
    assert spec is not None
    assert (spec.add_bos, spec.add_eos) == (begins, True)
    assert spec.special_ids == {**({"bos": 4} if begins else {}), "eos": 5}


def test_a_template_may_end_texts_with_another_token_than_replies(tmp_path: Path) -> None:
    """As that of Qwen3-Embedding: texts end with <|endoftext|>, eos_token is <|im_end|>."""
    single = [TEMPLATE["single"][1], {"SpecialToken": {"id": "</s>"}}]
    template = {"post_processor": {**TEMPLATE, "single": single}}
    spec = read_tokenizer(folder(tmp_path, {"eos_token": "<tool>"}, **template), [7], 16)
    assert spec is not None
    assert (spec.add_eos, spec.special_ids, spec.end_ids) == (True, {"eos": 5, "eot": 7}, {5, 7})
    assert text_end(spec) == [5]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"model": {"type": "WordLevel"}}, "a tokenizer of type 'WordLevel' is not read"),
        ({"model": {"byte_fallback": True}}, "model.byte_fallback is True"),
        ({"model": {"dropout": 0.1}}, "model.dropout is 0.1"),
        ({"model": {"vocab": {"a": 0, "b": 0}}}, "the tokens 'a' and 'b' have the id 0"),
        ({"model": {"vocab": {"a": -1}}}, "the token 'a' has the id -1"),
        ({"model": {"vocab": {"a": 1 << 30}}}, "has the id 1073741824"),
        ({"model": {"vocab": {"a": 1 << 20}}}, "the id 1048576 is far above the number of tokens"),
        ({"model": {"vocab": [1]}}, "model.vocab is [1], but must be an object"),
        ({"model": {"merges": ["a b c"]}}, "model.merges: 'a b c' is no pair of tokens"),
        ({"model": {"merges": None}}, "model.merges is None"),
        ({"added_tokens": [{"id": 4}]}, "has no content"),
        ({"added_tokens": [{"id": 0, "content": "x"}]}, "the tokens 'a' and 'x' have the id 0"),
        ({"normalizer": {"type": "NFKC"}}, "is not supported; NFC is"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]}}, "NFC is"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "it is neither byte-level BPE nor BPE with"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT]}}, "neither byte-level BPE nor"),
        ({"model": {"type": "WordLevel"}}, "a tokenizer of type 'WordLevel' is not read"),
        ({"model": {"merges": [["a b", "c"]]}}, "has a token with a space"),
        ({"added_tokens": [{"id": 4, "content": "x", "single_word": True}]}, "'x' has single_word"),
        ({"added_tokens": {}, "model": {"vocab": {}}}, "model.vocab is empty"),
        ({"added_tokens": "x"}, "added_tokens is 'x', but must be a list"),
        ({"added_tokens": ["x"]}, "added_tokens is 'x', but must be an object"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [BYTES, SPLIT]}}, "is not supported"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "is not supported"),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{**SPLIT, "invert": True}, BYTES]}},
            "is not supported",
        ),
        ({"post_processor": {"type": "BertProcessing"}}, "post_processor: "),
        (
            {
                "post_processor": {
                    **TEMPLATE,
                    "single": [{"SpecialToken": {"id": "</s>"}}, *TEMPLATE["single"]],
                }
            },
            "the template",
        ),
        (
            {"post_processor": {**TEMPLATE, "single": [{"SpecialToken": {"id": "<s>"}}]}},
            "the template",
        ),
        (
            {
                "post_processor": {
                    **TEMPLATE,
                    "single": [*TEMPLATE["single"], {"SpecialToken": {"id": "<absent>"}}],
                }
            },
            "the template",
        ),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    tmp_path: Path, changed: dict[str, Any], error: str
) -> None:
    with pytest.raises((FormatError, UnsupportedError)) as caught:
        read_tokenizer(folder(tmp_path, **changed), [], 1 << 21)
    assert error in str(caught.value)
    assert "tokenizer.json" in str(caught.value)


def test_a_vocabulary_that_does_not_fit_the_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="has 8 tokens, but the model only 7"):
        read_tokenizer(folder(tmp_path), [], 7)
    with pytest.raises(FormatError, match="eos_token_id is 8, but"):
        read_tokenizer(folder(tmp_path), [8], 16)


def test_tokens_of_the_settings_are_added(tmp_path: Path) -> None:
    more = {
        "4": {"content": "<s>", "special": True},
        "8": {"content": "<new>", "special": True, "rstrip": True, "lstrip": True, "normalized": True},
        "0": {"content": "a", "special": False},
    }
    spec = read_tokenizer(folder(tmp_path, {"added_tokens_decoder": more}), [], 0)
    assert spec is not None
    assert list(spec.tokens)[4:] == ["<s>", "</s>", "[UNUSED6]", "<tool>", "<new>"]
    assert spec.types is not None
    assert spec.types.tolist() == [4, 1, 1, 1, 3, 3, 5, 4, 3]
    assert (spec.strip_left, spec.strip_right, spec.normalized) == (frozenset({8}),) * 3


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"4": {"content": "<x>"}}, "the token '<x>' has the id 4, which is that of '<s>'"),
        ({"9": {"content": "a"}}, "the token 'a' has the id 9, but 0 in the vocabulary"),
        ({"x": {"content": "a"}}, "added_tokens_decoder: 'x' is no id"),
        ({"9": {}}, "has no content"),
        ([1], "added_tokens_decoder is [1], but must be an object"),
    ],
)
def test_settings_that_contradict_the_vocabulary_are_refused(tmp_path: Path, more: Any, error: str) -> None:
    with pytest.raises((FormatError, UnsupportedError)) as caught:
        read_tokenizer(folder(tmp_path, {"added_tokens_decoder": more}), [], 0)
    assert error in str(caught.value)
    assert "tokenizer_config.json" in str(caught.value)
