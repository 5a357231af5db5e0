"""Models of other formats written as GGUF."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import (
    Conventions,
    Hyperparameters,
    ModelDescriptor,
    TensorInfo,
    TokenizerSpec,
    WordNormalization,
)
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_gguf import GGUFFile, GGUFFormat, ValueType
from zigai_gguf.convert import convert
from zigai_gguf.llama_cpp import ignored_by_llama_cpp
from zigai_gguf.scored import by_scores, differences


def tensor(name: str, *shape: int, dtype: str = "F32") -> TensorInfo:
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype("<f4")
    if dtype == "BF16":
        stored = (values.view("<u4") >> 16).astype("<u2")
    else:
        stored = values.astype({"F32": "<f4", "F16": "<f2"}[dtype])
    return TensorInfo(name, shape, DTYPES[dtype], stored.reshape(-1).view(np.uint8))


@pytest.fixture
def model() -> ModelDescriptor:
    tensors = [
        tensor("token_embd.weight", 8, 32, dtype="BF16"),
        tensor("blk.0.attn_q.weight", 64, 32, dtype="BF16"),
        tensor("blk.0.attn_q.bias", 64, dtype="BF16"),
        tensor("blk.0.attn_k.weight", 32, 32, dtype="BF16"),
        tensor("blk.0.attn_norm.weight", 32, dtype="BF16"),
        tensor("blk.0.odd.weight", 4, 30),
    ]
    values = {
        "block_count": 1,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 16,
        "rope.freq_base": 5e5,
    }
    spec = TokenizerSpec(
        kind="gpt2",
        tokens=["a", "b", "ab", "<s>", "</s>", "<end>"],
        types=np.array([1, 1, 1, 3, 3, 3], np.int32),
        merges=["a b"],
        special_ids={"bos": 3, "eos": 4},
        end_ids=frozenset({4, 5}),
        add_bos=True,
        splits=(r"\p{N}",),
    )
    return ModelDescriptor(
        name="toy",
        architecture="llama",
        hyperparameters=Hyperparameters(values),
        tensors={each.name: each for each in tensors},
        tokenizer=spec,
        chat_template="{{ messages }}",
        sampling={"temperature": 0.5, "top_k": 7, "repeat_penalty": 1.5},
        conventions=Conventions(rope_pairing="half"),
    )


def rows_of_pairs(values: Any, heads: int) -> Any:
    """Rows as `[heads, pairs, 2, ...]`, from adjacent pairs."""
    return values.reshape(heads, -1, 2, *values.shape[1:])


def test_a_model_has_the_names_rows_and_vocabulary_of_gguf(model: ModelDescriptor, tmp_path: Path) -> None:
    out, steps = tmp_path / "out.gguf", []
    convert(model, out, pre_tokenizer="smollm", progress=lambda *step: steps.append(step))
    file, written = GGUFFile.open(out), GGUFFormat().read(out)
    assert (written.architecture, written.name) == ("llama", "toy")
    assert dict(written.hyperparameters.items()) == {
        "attention.value_length": 16,
        "rope.dimension_count": 16,
        **dict(model.hyperparameters.items()),
    }
    assert file.metadata.value_type("llama.rope.freq_base") is ValueType.FLOAT32
    assert written.conventions.rope_pairing == "adjacent"
    for name, heads in (("blk.0.attn_q.weight", 4), ("blk.0.attn_q.bias", 4), ("blk.0.attn_k.weight", 2)):
        old, new = (each.tensors[name].to_float32() for each in (model, written))
        halves = old.reshape(heads, 2, -1, *old.shape[1:])
        assert np.array_equal(rows_of_pairs(new, heads), halves.swapaxes(1, 2)), name
    for name in ("token_embd.weight", "blk.0.odd.weight", "blk.0.attn_norm.weight"):
        assert np.array_equal(written.tensors[name].to_float32(), model.tensors[name].to_float32())
    assert {name: each.dtype.name for name, each in written.tensors.items()} == {
        "token_embd.weight": "BF16",
        "blk.0.attn_q.weight": "BF16",
        "blk.0.attn_q.bias": "F32",
        "blk.0.attn_k.weight": "BF16",
        "blk.0.attn_norm.weight": "F32",
        "blk.0.odd.weight": "F32",
    }
    spec = written.tokenizer
    assert spec is not None
    assert list(spec.tokens) == ["a", "b", "ab", "<s>", "</s>", "<end>", "[PAD6]", "[PAD7]"]
    assert spec.types is not None
    assert spec.types.tolist() == [1, 1, 1, 3, 3, 3, 5, 5]
    assert (spec.pre_tokenizer, spec.add_bos, list(spec.merges or ())) == ("smollm", True, ["a b"])
    assert {role: spec.special_ids[role] for role in ("bos", "eos", "eot")} == {"bos": 3, "eos": 4, "eot": 5}
    assert spec.end_ids == frozenset({4, 5})
    assert written.chat_template == "{{ messages }}"
    assert written.sampling == {"temperature": 0.5, "top_k": 7, "repeat_penalty": 1.5}
    assert steps[-1][0] == steps[-1][1] == sum(each.nbytes for each in written.tensors.values())


def test_keys_of_layers_with_other_numbers_of_heads_are_paired_by_their_own(
    model: ModelDescriptor, tmp_path: Path
) -> None:
    second = tensor("blk.1.attn_k.weight", 64, 32)
    hybrid = replace(
        model,
        hyperparameters=model.hyperparameters.replaced(block_count=3, attention__head_count_kv=[2, 4, 0]),
        tensors={**model.tensors, second.name: second},
    )
    convert(hybrid, tmp_path / "out.gguf", pre_tokenizer="smollm")
    written = GGUFFormat().read(tmp_path / "out.gguf")
    for name, heads in (("blk.0.attn_k.weight", 2), ("blk.1.attn_k.weight", 4)):
        halves = hybrid.tensors[name].to_float32().reshape(heads, 2, -1, 32)
        new = written.tensors[name].to_float32()
        assert np.array_equal(rows_of_pairs(new, heads), halves.swapaxes(1, 2)), name
    keys = tensor("blk.2.attn_k.weight", 32, 32)
    wrong = replace(hybrid, tensors={**model.tensors, keys.name: keys})
    with pytest.raises(FormatError, match=r"blk\.2\.attn_k\.weight. has 32 rows for 0 heads"):
        convert(wrong, tmp_path / "wrong.gguf", pre_tokenizer="smollm")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_matrices_are_converted_and_vectors_stay_f32(
    model: ModelDescriptor, tmp_path: Path, dtype: str
) -> None:
    qwen = replace(model, architecture="qwen2", tokenizer=None)
    convert(qwen, tmp_path / "out.gguf", dtype=dtype)
    written = GGUFFormat().read(tmp_path / "out.gguf")
    tolerance = {"F32": 0, "F16": 5e-4, "BF16": 0, "Q8_0": 4.5e-3, "Q4_0": 0.1}[dtype]
    for name in ("token_embd.weight", "blk.0.attn_q.weight"):
        embedding_at_8_bits = dtype == "Q4_0" and name == "token_embd.weight"
        assert written.tensors[name].dtype.name == ("Q8_0" if embedding_at_8_bits else dtype)
        old, new = (each.tensors[name].to_float32() for each in (qwen, written))
        assert np.abs(new - old).max() <= tolerance * np.abs(old).max()
    assert written.tensors["blk.0.attn_norm.weight"].dtype.name == "F32"
    blocks = DTYPES[dtype].block_size > 1
    assert written.tensors["blk.0.odd.weight"].dtype.name == ("F16" if blocks else dtype)


@pytest.mark.parametrize("dtype", [None, "F16", "Q8_0"])
def test_filters_decays_and_embeddings_of_positions_and_types_are_f32(
    model: ModelDescriptor, tmp_path: Path, dtype: str | None
) -> None:
    shapes = {
        "blk.0.ssm_conv1d.weight": (64, 4),
        "blk.0.shortconv.conv.weight": (64, 32),
        "blk.0.ssm_norm.weight": (2, 32),
        "blk.0.ssm_a": (32, 1),
        "blk.0.ssm_d": (32, 1),
        "position_embd.weight": (64, 32),
        "token_types.weight": (2, 32),
    }
    added = {name: tensor(name, *shape, dtype="BF16") for name, shape in shapes.items()}
    mamba = replace(model, architecture="mamba2", tokenizer=None, tensors={**model.tensors, **added})
    convert(mamba, tmp_path / "out.gguf", dtype=dtype)
    written = GGUFFormat().read(tmp_path / "out.gguf").tensors
    for name, given in added.items():
        assert written[name].dtype.name == "F32", name
        np.testing.assert_array_equal(written[name].to_float32(), given.to_float32())


@pytest.mark.parametrize("plugins", [Plugins(), Plugins.installed()], ids=["numpy", "installed"])
def test_rows_of_several_chunks_have_the_bytes_of_the_encoder(tmp_path: Path, plugins: Plugins) -> None:
    stored = [
        tensor("blk.0.ffn_down.weight", 1100, 512, dtype="BF16"),
        tensor("blk.0.ffn_up.weight", 300, 96, dtype="F16"),
        tensor("blk.0.ffn_down_exps.weight", 3, 700, 256),
        tensor("blk.0.ffn_gate_inp.weight", 3, 256, dtype="BF16"),
        tensor("blk.0.ffn_down_exps.bias", 3, 256, dtype="BF16"),
        tensor("output.weight", 40, 256, dtype="BF16"),
    ]
    model = ModelDescriptor("m", "qwen3", Hyperparameters({}), {each.name: each for each in stored})
    convert(model, tmp_path / "out.gguf", dtype="Q4_K", plugins=plugins)
    file = GGUFFile.open(tmp_path / "out.gguf")
    assert file.metadata["general.file_type"] == 14
    types = ["Q4_K", "Q8_0", "Q4_K", "BF16", "BF16", "Q8_0"]
    for old, name in zip(stored, types, strict=True):
        new = file.tensors[old.name]
        assert new.dtype.name == name
        assert np.array_equal(new.data, DTYPES[name].from_float32(old.to_float32())), old.name


def test_a_number_that_a_type_cannot_store_is_an_error_that_names_its_tensor(
    model: ModelDescriptor, tmp_path: Path
) -> None:
    values = np.full((4, 32), 7e4, "<f4").reshape(-1).view(np.uint8)
    large = TensorInfo("blk.0.large.weight", (4, 32), DTYPES["F32"], values)
    damaged = replace(model, tensors={large.name: large}, tokenizer=None)
    convert(damaged, tmp_path / "out.gguf", dtype="Q8_0")
    with pytest.raises(FormatError, match=r"tensor 'blk.0.large.weight': 70000.0 is too large for F16"):
        convert(damaged, tmp_path / "half.gguf", dtype="F16")
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


def test_what_gguf_cannot_say_is_refused_and_nothing_is_written(
    model: ModelDescriptor, tmp_path: Path
) -> None:
    out = tmp_path / "out.gguf"
    unknown = Hyperparameters({**dict(model.hyperparameters.items()), "config.strange": 3})
    partial = Hyperparameters({**dict(model.hyperparameters.items()), "rope.dimension_count": 8})
    for changed, options, error in (
        (model, {"dtype": "Q6_K"}, "conversion to 'Q6_K' is not supported; supported are F32"),
        (model, {}, "for which GGUF has no name"),
        (
            replace(model, hyperparameters=unknown, tokenizer=None),
            {},
            "the setting 'strange' is not understood",
        ),
        (
            replace(model, hyperparameters=partial, tokenizer=None),
            {},
            "64 rows for 4 heads that are rotated whole",
        ),
    ):
        with pytest.raises((FormatError, UnsupportedError), match=error):
            convert(changed, out, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
BY_MERGES = TokenizerSpec(
    kind="bpe",
    tokens=["<s>", *BYTES, "\u2581", "a", "\u2581a", "aa", "\u2581aa"],
    types=np.array([3, *[6] * 256, *[1] * 5], np.int32),
    merges=["a a", "\u2581 a", "\u2581 aa", "\u2581a a"],
    special_ids={"bos": 0},
    splits=(),
    add_space_prefix=False,
)


def test_merges_become_scores(model: ModelDescriptor, tmp_path: Path) -> None:
    convert(replace(model, tokenizer=BY_MERGES, tensors={}), tmp_path / "out.gguf")
    spec = GGUFFormat().read(tmp_path / "out.gguf").tokenizer
    assert spec is not None
    assert (spec.kind, spec.merges, spec.add_space_prefix) == ("llama", None, False)
    assert spec.scores is not None
    assert spec.scores[257:].tolist() == [-3, -3, -1, 0, -2]
    assert differences(BY_MERGES, "llama") == [
        "GGUF orders merges by scores: texts with U+2581 and rare others have other ids in the file"
    ]
    odd = replace(
        BY_MERGES, add_space_prefix=True, prefix_scheme="first", normalizer="NFC", strip_left=frozenset({0})
    )
    assert len(differences(odd, "llama")) == 4
    plain = replace(BY_MERGES, kind="gpt2", normalized=frozenset({0}))
    assert (by_scores(plain, None), differences(plain, "llama")) == (plain, [])


def test_merges_of_gemma_4_stay_merges_and_its_markers_are_shown(
    model: ModelDescriptor, tmp_path: Path
) -> None:
    texts = [*BY_MERGES.tokens, "<|channel>", "<turn|>", "\n\n"]
    types = np.append(BY_MERGES.types, [3, 3, 4]).astype(np.int32)  # type: ignore[arg-type]
    given = replace(BY_MERGES, tokens=texts, types=types)
    gemma4 = replace(model, architecture="gemma4", tokenizer=given, tensors={})
    convert(gemma4, tmp_path / "out.gguf")
    metadata = GGUFFormat().read(tmp_path / "out.gguf").metadata
    assert metadata["tokenizer.ggml.token_type"].tolist() == [3, *[6] * 256, *[1] * 5, 4, 3, 4]
    spec = GGUFFormat().read(tmp_path / "out.gguf").tokenizer
    assert spec is not None
    assert spec.types is not None
    assert spec.merges is not None
    assert (spec.kind, list(spec.merges), spec.add_space_prefix) == ("gemma4", BY_MERGES.merges, False)
    assert (spec.add_bos, spec.types.tolist()) == (True, types.tolist())
    assert differences(given, "gemma4") == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"splits": ("x",)}, "splits texts, which GGUF cannot ask for"),
        ({"ignore_merges": True}, "takes whole texts, which"),
        ({"add_space_prefix": True}, "puts a space before texts, which"),
    ],
)
def test_what_vocabularies_of_gemma_4_lack_is_refused(
    model: ModelDescriptor, tmp_path: Path, changes: dict[str, Any], error: str
) -> None:
    gemma4 = replace(model, architecture="gemma4", tokenizer=replace(BY_MERGES, **changes), tensors={})
    with pytest.raises(UnsupportedError, match=error):
        convert(gemma4, tmp_path / "out.gguf")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"splits": ("x",)}, r"splits texts by \['x'\]"),
        ({"ignore_merges": True}, "takes whole texts"),
        (
            {"tokens": ["x" if text == "<0x09>" else text for text in BY_MERGES.tokens]},
            "no token for some bytes",
        ),
    ],
)
def test_what_scores_cannot_say_is_refused(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(UnsupportedError, match=error):
        by_scores(replace(BY_MERGES, **changes), Path("folder"))


NO_REPLACEMENTS = np.array([1024, 1 << 10, *[1 << 31] * 255], "<u4").tobytes() + b"\0"
"""A character map (darts-clone) whose root has no children."""
BY_UNIGRAM = TokenizerSpec(
    kind="unigram",
    tokens=["<s>", "<unk>", "\u2581", "a", "<mask>"],
    types=np.array([3, 3, 1, 1, 3], np.int32),
    scores=np.array([0, 0, -2.5, -3, -np.inf]),
    special_ids={"bos": 0, "unknown": 1},
    splits=("\u2581[^\u2581]*",),
    prefix_scheme="always",
    normalizers=[("Precompiled",), ("Strip", "right"), ("Spaces", "\u2581")],
    precompiled_charsmap=NO_REPLACEMENTS,
)


def test_unigram_is_written_as_llama_cpp_reads_it(model: ModelDescriptor, tmp_path: Path) -> None:
    convert(replace(model, tokenizer=BY_UNIGRAM, tensors={}), tmp_path / "out.gguf")
    spec = GGUFFormat().read(tmp_path / "out.gguf").tokenizer
    assert spec is not None
    assert (spec.kind, spec.pre_tokenizer, spec.add_space_prefix) == ("t5", None, True)
    assert (spec.remove_extra_whitespaces, spec.precompiled_charsmap) == (True, NO_REPLACEMENTS)
    assert spec.scores is not None
    assert spec.scores.tolist() == [0, 0, -2.5, -3, -1000]
    assert spec.types is not None
    assert spec.types.tolist() == [3, 2, 1, 1, 3]
    (line,) = differences(BY_UNIGRAM, "bert")
    assert line.startswith("GGUF's readers normalise texts")
    bare = by_scores(replace(BY_UNIGRAM, normalizers=(), types=None), None)
    assert (bare.remove_extra_whitespaces, bare.precompiled_charsmap) == (False, None)
    assert by_scores(
        replace(BY_UNIGRAM, white_space_ends_words=True, normalizers=()), None
    ).remove_extra_whitespaces


def test_steps_of_unigram_that_gguf_cannot_ask_for_are_refused() -> None:
    with pytest.raises(
        UnsupportedError, match=r"normalises texts by \['Lowercase'\], which GGUF cannot ask for"
    ):
        by_scores(replace(BY_UNIGRAM, normalizers=[("Lowercase",)]), Path("folder"))
    assert BY_UNIGRAM.scores is not None
    scores = BY_UNIGRAM.scores.astype(np.float64)
    scores[1] = -1e300
    with pytest.raises(UnsupportedError, match=r"folder: the score of token 1 .* is -1e\+300, and GGUF"):
        by_scores(replace(BY_UNIGRAM, scores=scores), Path("folder"))


def test_settings_of_sentencepiece_are_written(model: ModelDescriptor, tmp_path: Path) -> None:
    spec = replace(
        by_scores(BY_MERGES, None),
        add_space_prefix=False,
        remove_extra_whitespaces=True,
        precompiled_charsmap=b"\x00\xffmap",
    )
    convert(replace(model, tokenizer=spec, tensors={}), tmp_path / "out.gguf")
    written = GGUFFormat().read(tmp_path / "out.gguf").tokenizer
    assert written is not None
    assert (written.add_space_prefix, written.remove_extra_whitespaces) == (False, True)
    assert written.precompiled_charsmap == b"\x00\xffmap"


def test_what_llama_cpp_ignores_is_told(model: ModelDescriptor) -> None:
    def told(architecture: str, **changed: object) -> list[str]:
        keys = {**dict(model.hyperparameters.items()), **changed}
        return ignored_by_llama_cpp(
            replace(model, architecture=architecture, hyperparameters=Hyperparameters(keys))
        )

    window = {"attention.sliding_window": 8}
    assert told("llama", **window) == [
        "llama.cpp ignores the sliding window of models of the architecture 'llama': "
        "there, texts of more than 8 tokens have other logits"
    ]
    for architecture, always in (
        ("llama", True),
        ("qwen2moe", False),
        ("qwen3moe", True),
        ("qwen3next", True),
    ):
        assert told(architecture, expert_weights_norm=always) == []
        (line,) = told(architecture, expert_weights_norm=not always)
        assert line.startswith(
            f"llama.cpp {'always' if always else 'never'} divides the shares of experts of "
        )
    assert told("llama") == told("gemma3", **window, expert_weights_norm=False) == []


@pytest.mark.parametrize(("architecture", "layers"), [("gemma2", 46), ("gemma3", 62), ("gemma-embedding", 0)])
def test_a_scale_of_attention_that_llama_cpp_does_not_compute_is_told(
    model: ModelDescriptor, architecture: str, layers: int
) -> None:
    def told(scale: float, blocks: int) -> list[str]:
        sizes = {"embedding_length": 96, "attention.head_count": 2, "attention.key_length": 32}
        keys = Hyperparameters({**sizes, "block_count": blocks, "attention.scale": scale})
        return ignored_by_llama_cpp(replace(model, architecture=architecture, hyperparameters=keys))

    assert told(32**-0.5, 4) == told(0.0, 4) == []
    (line,) = told(48**-0.5, 4)
    assert line.startswith(
        f"llama.cpp ignores the scale of attention of models of the architecture '{architecture}'"
    )
    if layers:
        assert told(48**-0.5, layers) == []
        assert "takes 0.144338" in told(32**-0.5, layers)[0]


def test_a_cap_of_none_and_a_head_of_gemmas_own_are_told(model: ModelDescriptor) -> None:
    def told(architecture: str, *, head: bool = False, **changed: float) -> list[str]:
        keys = Hyperparameters({**dict(model.hyperparameters.items()), **changed})
        tensors = {**model.tensors, **({"output.weight": tensor("output.weight", 8, 32)} if head else {})}
        return ignored_by_llama_cpp(
            replace(model, architecture=architecture, hyperparameters=keys, tensors=tensors)
        )

    assert told("gemma2", attn_logit_softcapping=50.0) == told("gemma2") == told("gemma3", head=True) == []
    (line,) = told("gemma2", final_logit_softcapping=0.0)
    assert (
        line == "llama.cpp divides by final_logit_softcapping, which is 0 (none): there, no text has logits"
    )
    for architecture in ("gemma", "gemma2"):
        assert "so it does not open the file" in told(architecture, head=True)[0]


BERT = TokenizerSpec(
    kind="bert",
    tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "##es", "[unused1]", "<tool>"],
    types=np.array([3, 3, 3, 3, 1, 1, 1, 4], np.int32),
    special_ids={"unknown": 1, "bos": 2, "eos": 3, "padding": 0},
    end_ids=frozenset({3}),
    add_bos=True,
    add_eos=True,
    separators=(3,),
    second_type=1,
    words=WordNormalization(lowercase=False),
    continuing_prefix="##",
)


def test_wordpiece_is_written_in_the_form_of_llama_cpp(model: ModelDescriptor, tmp_path: Path) -> None:
    types = tensor("token_types.weight", 2, 32)
    changed = replace(model, architecture="bert", tokenizer=BERT, tensors={types.name: types})
    convert(changed, tmp_path / "out.gguf")
    metadata = GGUFFile.open(tmp_path / "out.gguf").metadata
    written = GGUFFormat().read(tmp_path / "out.gguf").tokenizer
    assert written is not None
    texts = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁the", "es", "▁[unused1]", "▁<tool>"]
    assert (written.kind, list(written.tokens), written.continuing_prefix) == ("bert", texts, None)
    assert written.special_ids.items() >= BERT.special_ids.items()
    assert (written.words.lowercase, written.words.strip_accents) == (False, False)
    assert metadata["tokenizer.ggml.token_type_count"] == 2
    assert (metadata["tokenizer.ggml.seperator_token_id"], written.add_eos) == (3, True)
    flags = {name: metadata[f"tokenizer.ggml.add_{name}_token"] for name in ("bos", "eos", "sep")}
    assert flags == {"bos": True, "eos": True, "sep": False}  # so llama.cpp reads pairs with one [SEP]
    assert (written.separators, written.second_type) == ((3,), 1)


PAIRS = TokenizerSpec(
    kind="t5",
    tokens=["<s>", "<pad>", "</s>", "<unk>", "▁a", "<sep>"],
    scores=np.zeros(6, np.float32),
    types=np.array([3, 3, 3, 2, 1, 3], np.int32),
    special_ids={"bos": 0, "eos": 2, "unknown": 3, "padding": 1},
    end_ids=frozenset({2}),
    add_bos=True,
    add_eos=True,
)


@pytest.mark.parametrize("separators", [(2, 2), (2, 5), (2,)])
def test_the_form_of_pairs_is_written(
    model: ModelDescriptor, tmp_path: Path, separators: tuple[int, ...]
) -> None:
    spec = replace(PAIRS, separators=separators)
    convert(replace(model, tokenizer=spec, tensors={}), tmp_path / "out.gguf")
    written = GGUFFormat().read(tmp_path / "out.gguf").tokenizer
    assert written is not None
    assert (written.separators, written.second_type, written.add_eos) == (separators, 0, True)


@pytest.mark.parametrize(
    "changes", [{"separators": (5,)}, {"separators": (2, 5, 5)}, {"separators": (2,), "second_type": 1}]
)
def test_a_form_of_pairs_without_keys_is_refused_for_a_reranker_alone(
    model: ModelDescriptor, tmp_path: Path, changes: dict[str, Any]
) -> None:
    changed = replace(model, tokenizer=replace(PAIRS, **changes), tensors={})
    convert(changed, tmp_path / "out.gguf")
    hp = changed.hyperparameters.replaced(pooling_type=4)
    with pytest.raises(UnsupportedError, match=r"the tokenizer's form of pairs .* has no keys in GGUF"):
        convert(replace(changed, hyperparameters=hp), tmp_path / "other.gguf")
    assert not (tmp_path / "other.gguf").exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"words": WordNormalization(clean=False)},
            "clean_text of the tokenizer is False, which GGUF has no",
        ),
        ({"words": WordNormalization(chinese=False)}, "handle_chinese_chars of the tokenizer is False"),
        ({"longest_word": 50}, "max_input_chars_per_word of the tokenizer is 50"),
        ({"tokens": [*BERT.tokens[:-1], "##▁the"]}, "tokens 4 and 7 of WordPiece have the same text"),
    ],
)
def test_what_gguf_cannot_say_of_wordpiece_is_refused(
    model: ModelDescriptor, tmp_path: Path, changes: dict[str, Any], error: str
) -> None:
    with pytest.raises(UnsupportedError, match=error):
        convert(replace(model, tokenizer=replace(BERT, **changes), tensors={}), tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
