from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError
from zigai_gguf import GGUFFormat, Typed, ValueType, write_gguf

Read = Callable[..., TokenizerSpec]
U32 = ValueType.UINT32


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(
        tokens: list[str] | None, kind: str = "llama", types: list[int] | None = None, **keys: Any
    ) -> TokenizerSpec:
        metadata: dict[str, Any] = {"general.architecture": "llama", "tokenizer.ggml.model": kind}
        if tokens is not None:
            metadata["tokenizer.ggml.tokens"] = Typed(ValueType.STRING, tokens)
        if types is not None:
            metadata["tokenizer.ggml.token_type"] = types
        metadata |= {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
        path = tmp_path / "vocabulary.gguf"
        write_gguf(path, metadata)
        spec = GGUFFormat().read(path).tokenizer
        assert spec is not None
        return spec

    return read


def test_all_keys_of_a_vocabulary_are_read(read: Read) -> None:
    spec = read(
        ["<unk>", "<s>", "</s>", "a"],
        types=[2, 3, 3, 1],
        scores=[0.0, 0.0, 0.0, -1.0],
        merges=["a b"],
        pre="default",
        bos_token_id=1,
        eos_token_id=2,
        unknown_token_id=0,
        padding_token_id=3,
        add_bos_token=False,
        add_eos_token=True,
        add_space_prefix=False,
        remove_extra_whitespaces=True,
        precompiled_charsmap=np.array([1, 2, 255], np.uint8),
    )
    assert spec.kind == "llama"
    assert list(spec.tokens) == ["<unk>", "<s>", "</s>", "a"]
    assert spec.scores is not None
    assert spec.scores.dtype == np.float32
    assert spec.scores.tolist() == [0, 0, 0, -1]
    assert spec.types is not None
    assert spec.types.dtype == np.int32
    assert spec.types.tolist() == [2, 3, 3, 1]
    assert not spec.scores.flags.writeable
    assert not spec.types.flags.writeable
    assert spec.scores.flags.aligned
    assert spec.types.flags.aligned
    assert list(spec.merges or ()) == ["a b"]
    assert spec.pre_tokenizer == "default"
    assert spec.special_ids == {"bos": 1, "eos": 2, "unknown": 0, "padding": 3}
    assert spec.end_ids == {2}
    assert (spec.add_bos, spec.add_eos) == (False, True)
    assert (spec.add_space_prefix, spec.remove_extra_whitespaces) == (False, True)
    assert spec.precompiled_charsmap == b"\x01\x02\xff"


@pytest.mark.parametrize(
    ("name", "stripping"),
    [
        ("Phi3", {2, 4, 6}),
        ("Phi 3 mini", set()),
        ("my PHI-3.5 tune", {2, 4, 6}),
        ("llama", set()),
        (None, set()),
    ],
)
def test_special_tokens_of_phi3_by_its_name_take_white_space_after_them_away(
    tmp_path: Path, name: str | None, stripping: set[int]
) -> None:
    """As in llama.cpp: all special tokens but three, `</s>` among them; ordinary ones never."""
    metadata: dict[str, Any] = {
        "general.architecture": "phi3",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "a", "<|user|>", "<|endoftext|>", "<|own|>"],
        "tokenizer.ggml.token_type": [2, 3, 4, 1, 3, 3, 4],
    }
    path = tmp_path / "phi.gguf"
    write_gguf(path, metadata if name is None else {**metadata, "general.name": name})
    spec = GGUFFormat().read(path).tokenizer
    assert spec is not None
    assert spec.strip_right == stripping
    assert spec.strip_left == set()


def test_missing_keys_give_none(read: Read) -> None:
    spec = read(["a"], kind="gpt2")
    assert (spec.scores, spec.types, spec.merges, spec.pre_tokenizer) == (None, None, None, None)
    assert spec.precompiled_charsmap is None
    assert spec.special_ids == {}
    assert spec.end_ids == frozenset()


@pytest.mark.parametrize(
    ("kind", "pre", "flags"),
    [
        ("llama", None, (True, False, True, False)),
        ("gpt2", None, (False, False, False, False)),
        ("gpt2", "qwen2", (False, False, False, False)),
        ("gpt2", "llama-bpe", (True, False, False, False)),
        ("gpt2", "tekken", (True, False, False, False)),
        ("t5", None, (False, True, False, False)),
        ("bert", None, (True, True, False, False)),
        ("rwkv", None, (False, False, False, False)),
    ],
)
def test_flags_have_defaults_by_kind(read: Read, kind: str, pre: str | None, flags: tuple[bool, ...]) -> None:
    spec = read(["a"], kind=kind, **({"pre": pre} if pre else {}))
    assert (spec.add_bos, spec.add_eos, spec.add_space_prefix, spec.remove_extra_whitespaces) == flags


def test_a_sentencepiece_vocabulary_without_ids_has_the_default_ids(read: Read) -> None:
    assert read(["<unk>", "<s>", "</s>"]).special_ids == {"bos": 1, "eos": 2, "unknown": 0}
    assert read(["<unk>", "<s>"]).special_ids == {"bos": 1, "unknown": 0}


@pytest.mark.parametrize("value", [Typed(U32, 2**32 - 1), Typed(ValueType.INT32, -1)])
def test_the_id_minus_one_means_no_such_token(read: Read, value: Typed) -> None:
    assert read(["<unk>", "<s>", "</s>"], bos_token_id=value).special_ids == {"eos": 2, "unknown": 0}


OUT_OF_RANGE = [3, 2**31, 2**64 - 1, -2]


@pytest.mark.parametrize("key", ["bos_token_id", "eos_token_id"])
@pytest.mark.parametrize("value", OUT_OF_RANGE)
def test_an_eos_or_added_bos_id_out_of_range_is_an_error(read: Read, key: str, value: int) -> None:
    with pytest.raises(FormatError, match=f"'tokenizer.ggml.{key}' is {value}, but there are 3 tokens"):
        read(["<unk>", "<s>", "</s>"], **{key: value})


@pytest.mark.parametrize(
    "key", ["eom_token_id", "seperator_token_id", "separator_token_id", "prefix_token_id", "padding_token_id"]
)
@pytest.mark.parametrize("value", OUT_OF_RANGE)
def test_an_id_out_of_range_of_another_role_is_ignored_and_logged(
    read: Read, caplog: pytest.LogCaptureFixture, key: str, value: int
) -> None:
    caplog.set_level("INFO", "zigai")
    spec = read(["<unk>", "<s>", "</s>"], **{key: value})
    assert spec.special_ids == {"bos": 1, "eos": 2, "unknown": 0}
    assert f"ignored tokenizer.ggml.{key} = {value}: there are 3 tokens" in caplog.text


def test_a_bos_id_that_is_not_added_may_be_out_of_range(read: Read) -> None:
    spec = read(["<unk>", "<s>", "</s>"], bos_token_id=9, unknown_token_id=9, add_bos_token=False)
    assert spec.special_ids == {"bos": 1, "eos": 2, "unknown": 0}


def test_the_newer_key_of_a_role_takes_precedence(read: Read) -> None:
    spec = read(["a", "b", "c"], kind="gpt2", prefix_token_id=1, fim_pre_token_id=2, suffix_token_id=0)
    assert spec.special_ids == {"fim_pre": 2, "fim_suf": 0}


def test_control_tokens_get_roles_and_end_replies_by_spelling(read: Read) -> None:
    tokens = ["a", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|file_sep|>", "<eos>"]
    spec = read(tokens, kind="gpt2", types=[1, 3, 3, 4, 3, 3, 1], eos_token_id=3)
    assert spec.special_ids == {"eos": 3, "eot": 3, "fim_pre": 4, "fim_sep": 5}
    assert spec.end_ids == {1, 3, 5}


def test_tokens_spelt_as_control_tokens_are_control_tokens_even_if_marked_normal(read: Read) -> None:
    tokens = [
        "a",
        "<|im_start|>",
        "<|im_end|>",
        "<end_of_turn>",
        "<|eot_id|>",
        "<|end|>",
        "<|eom_id|>",
        "<|x|>",
        "undefined",
    ]
    spec = read(tokens, kind="gpt2", types=[1, 1, 1, 1, 0, 4, 1, 1, 0])
    assert spec.types is not None
    assert spec.types.tolist() == [1, 3, 3, 3, 3, 4, 3, 1, 1]
    assert spec.end_ids == {2, 3, 4, 5, 6}
    assert spec.special_ids == {"eot": 4, "eom": 6}
    assert not spec.types.flags.writeable


def test_control_tokens_of_a_file_without_types_are_found_by_spelling(read: Read) -> None:
    spec = read(["<|im_end|>", "</s>", "<|fim_prefix|>"], kind="gpt2")
    assert spec.types is None
    assert spec.end_ids == {0}
    assert spec.special_ids == {"eot": 0, "fim_pre": 2}


def test_ambiguous_spellings_marked_normal_are_normal_tokens(read: Read) -> None:
    tokens = ["</s>", "<s>", "<eos>", "[EOS]", "<EOT>", "<PRE>", "[PAD]", "", "<", "<|im_end", "im_end|>"]
    spec = read(tokens, kind="gpt2", types=[1] * len(tokens))
    assert spec.types is not None
    assert spec.types.tolist() == [1] * len(tokens)
    assert (spec.end_ids, spec.special_ids) == (frozenset(), {})


@pytest.mark.parametrize(
    ("tokens", "ends"),
    [
        (["<|end|>"], {"<|end|>"}),
        (["<|end|>", "<|return|>", "<|call|>"], {"<|return|>", "<|call|>"}),
        (["<|end|>", "<|flush|>", "<|calls|>"], {"<|flush|>", "<|calls|>"}),
        (["<|end|>", "<|return|>"], {"<|end|>", "<|return|>"}),
        (["</s>", "<turn|>"], {"</s>", "<turn|>"}),
        (["</s>", "<|tool_response>"], {"<|tool_response>"}),
    ],
)
def test_a_family_can_give_an_end_spelling_another_meaning(
    read: Read, tokens: list[str], ends: set[str]
) -> None:
    spec = read(tokens, kind="gpt2", types=[3] * len(tokens))
    assert {tokens[i] for i in spec.end_ids} == ends


@pytest.mark.parametrize(
    ("tokens", "keys", "what"),
    [
        (None, {}, "'tokenizer.ggml.tokens' is missing, though tokenizer.ggml.model is 'llama'"),
        ([], {}, "'tokenizer.ggml.tokens' is an empty array"),
        (["a"], {"token_type": [1, 1]}, "token_type' has 2 entries for 1 tokens"),
        (["a"], {"token_type": [7]}, "token_type' is 7 for token 0"),
        (["a"], {"token_type": [-1]}, "token_type' is -1 for token 0"),
        (["a"], {"token_type": [1.0]}, "token_type' is an array of FLOAT32, but must be an array of INT32"),
        (["a"], {"token_type": 1}, "token_type' is UINT32, but must be an array"),
        (["a"], {"scores": ["x"]}, "scores' is an array of STRING, but must be an array of FLOAT32"),
        (["a"], {"merges": [1]}, "merges' is an array of INT32, but must be an array of STRING"),
        (["a"], {"pre": 1}, "pre' is UINT32, but must be STRING"),
        (["a"], {"add_bos_token": 1}, "add_bos_token' is UINT32, but must be BOOL"),
        (["a"], {"bos_token_id": "a"}, "bos_token_id' is STRING, but must be an integer"),
        (["a"], {"bos_token_id": True}, "bos_token_id' is BOOL, but must be an integer"),
        (["a"], {"precompiled_charsmap": [1]}, "precompiled_charsmap' is an array of INT32"),
    ],
)
def test_an_invalid_vocabulary_is_an_error_that_names_the_key(
    read: Read, tokens: list[str] | None, keys: Mapping[str, Any], what: str
) -> None:
    with pytest.raises(FormatError, match=what):
        read(tokens, **keys)


def test_tokens_that_are_numbers_are_an_error(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(
        path,
        {"general.architecture": "llama", "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": [1]},
    )
    with pytest.raises(FormatError, match=r"tokens' is an array of INT32, but must be an array of STRING"):
        GGUFFormat().read(path)


def test_scores_may_be_integers(read: Read) -> None:
    scores = read(["a", "b"], scores=[0, -1]).scores
    assert scores is not None
    assert scores.dtype == np.float32
    assert scores.tolist() == [0, -1]


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁the", "es"]
BERT_TYPES = [3, 3, 3, 3, 1, 1]
BERT_IDS = {"unknown_token_id": 1, "bos_token_id": 2, "seperator_token_id": 3}


def test_texts_of_bert_begin_with_cls_and_end_with_sep(read: Read) -> None:
    """As llama.cpp (src/llama-vocab.cpp) takes them, whose converter writes no flags and no end."""
    spec = read(BERT, "bert", BERT_TYPES, **BERT_IDS)
    expected = {"padding": 0, "unknown": 1, "bos": 2, "separator": 3, "eos": 3}
    assert {role: spec.special_ids.get(role) for role in expected} == expected
    assert (spec.add_bos, spec.add_eos, 3 in spec.end_ids) == (True, True, True)
    assert (list(spec.tokens), spec.continuing_prefix) == (BERT, None)
    assert (spec.words.lowercase, spec.words.strip_accents) == (True, True)


def test_a_text_of_bert_has_no_sep_if_the_file_says_so(read: Read) -> None:
    spec = read(BERT, "bert", BERT_TYPES, add_sep_token=False, add_bos_token=False, **BERT_IDS)
    assert (spec.add_bos, spec.add_eos, "eos" in spec.special_ids) == (False, False, False)


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        # As llama.cpp's server reads pairs, but for WordPiece with flags of its loader alone, where it has no
        # [SEP] after the second text.
        ("bert", {}, (3,)),
        ("bert", {"add_sep_token": False, "add_eos_token": True, "eos_token_id": 3}, (3,)),
        ("bert", {"add_sep_token": False}, ()),
        ("t5", {"add_eos_token": True, "add_sep_token": True, "eos_token_id": 3}, (3, 3)),
        ("t5", {"add_eos_token": True, "eos_token_id": 5}, (5,)),
        ("gpt2", {"add_eos_token": True, "eos_token_id": 5}, (5,)),
        ("gpt2", {"add_eos_token": True, "eos_token_id": 5, "add_sep_token": True}, (5, 3)),
        ("gpt2", {"add_sep_token": True}, (3,)),
        ("gpt2", {"add_eos_token": True, "eos_token_id": 5, "pre": "roberta-bpe"}, (5, 3)),
        ("gpt2", {}, ()),
    ],
)
def test_between_the_texts_of_a_pair_are_the_end_of_the_first_and_a_separator(
    read: Read, kind: str, keys: Any, expected: tuple[int, ...]
) -> None:
    more: dict[str, Any] = {"merges": ["e s"]} if kind == "gpt2" else {}
    if kind == "t5":
        more = {"scores": [0.0] * len(BERT)}
    spec = read(BERT, kind, BERT_TYPES, **BERT_IDS, **keys, **more)
    assert (spec.separators, spec.second_type) == (expected, int(kind == "bert"))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"normalizer.lowercase": False}, (False, False)),
        ({"normalizer.lowercase": True, "normalizer.strip_accents": False}, (True, False)),
        ({"normalizer.strip_accents": True, "normalizer.lowercase": False}, (False, True)),
    ],
)
def test_the_normalisation_of_bert_is_read(read: Read, keys: Any, expected: Any) -> None:
    spec = read(BERT, "bert", BERT_TYPES, **BERT_IDS, **keys)
    assert (spec.words.lowercase, spec.words.strip_accents) == expected
