"""The graphs of BERT and its relatives against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

import pytest

from zigai_bert import bert, modern_bert, nomic_bert
from zigai_core.testing.architecture import ArchitectureConformance
from zigai_core.testing.oracles import Oracle

ORACLES = Path(__file__).parent / "oracles"
DEFAULTS = {
    "attention.causal": "false: the converters of llama.cpp write it of every encoder",
    "pooling_type": "none, or with a head scores: llama.cpp",
}
TYPES = "llama.cpp takes all tokens to be of type 0"
TABLE = 2e-2  # llama.cpp approximates GELU, by a table of float16


class TestBert(ArchitectureConformance):
    oracles = sorted(ORACLES.glob("bert*.npz"))
    architectures = {"bert": bert}
    optional = ("*.bias", "token_types.weight")
    without_effect = {
        "classifier.output_labels": "the names of the scores",
        "rope.freq_base": "there is no RoPE",
        "blk.*.attn_k.bias": "it adds the same to all scores of a query, which softmax takes away",
    }
    defaults = DEFAULTS
    unlike_llama_cpp = {"bert-scores": TYPES}
    llama_cpp_tolerance = TABLE


class TestNomicBert(ArchitectureConformance):
    oracles = sorted(ORACLES.glob("nomic-bert*.npz"))
    architectures = {"nomic-bert": nomic_bert}
    optional = ("*.bias", "token_types.weight")
    defaults = DEFAULTS
    unlike_llama_cpp = {"nomic-bert-pair": TYPES}


class TestModernBert(ArchitectureConformance):
    oracles = sorted(ORACLES.glob("modern-bert*.npz"))
    architectures = {"modern-bert": modern_bert}
    optional = ("*.bias", "blk.0.attn_norm.weight", "cls.norm.weight")
    without_effect = {"classifier.output_labels": "the names of the scores"}
    defaults = {
        **DEFAULTS,
        "classifier.pooling_type": "the mean: llama.cpp",
        "attention.sliding_window": "none: llama.cpp",
        "attention.sliding_window_pattern": "the first of three layers has none: llama.cpp",
        "hidden_activation": "gelu: llama.cpp",
        "rope.freq_base_swa": "10000: llama.cpp",
    }
    required = {
        "rope.freq_base": "ModernBERT's is 160000; 10000, which files may leave out, is another model"
    }
    llama_cpp_tolerance = TABLE


def test_a_bias_that_changes_nothing_needs_a_reason() -> None:
    class WithoutReasons(TestBert):
        without_effect = {}

    oracle = Oracle.load(ORACLES / "bert.npz")
    with pytest.raises(AssertionError, match=r"without tensor blk\.0\.attn_k\.bias the outputs are the same"):
        WithoutReasons().test_a_tensor_that_is_missing_is_named_or_is_optional(oracle)
    TestBert().test_a_tensor_that_is_missing_is_named_or_is_optional(oracle)
