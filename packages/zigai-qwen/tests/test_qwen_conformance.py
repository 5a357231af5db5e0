"""The graphs of the Qwen family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_qwen import qwen, qwen2, qwen2moe, qwen3, qwen3moe, qwen3next, qwen35, qwen35moe

ORACLES = Path(__file__).parent / "oracles"
SECTIONS = "a text has one position in all sections of M-RoPE"
WIDTHS = "it refuses files whose delta net has heads of values that are not as wide as those of keys"
HYBRID = {
    "attention.recurrent_layers": "by full_attention_interval: llama.cpp",
    "full_attention_interval": "4: llama.cpp",
    "nextn_predict_layers": "0: llama.cpp",
    "expert_weights_norm": "true: llama.cpp",
}


class TestDense(ArchitectureConformance):
    oracles = [
        path
        for path in sorted(ORACLES.glob("*.npz"))
        if path.stem.split("-")[0] in ("qwen", "qwen2", "qwen3")
    ]
    architectures = {"qwen": qwen, "qwen2": qwen2, "qwen3": qwen3}


class TestExperts(ArchitectureConformance):
    oracles = [path for path in sorted(ORACLES.glob("qwen*moe*.npz")) if "qwen35" not in path.stem]
    architectures = {"qwen2moe": qwen2moe, "qwen3moe": qwen3moe}
    defaults = {"expert_weights_norm": "false in qwen2moe, true in qwen3moe: llama.cpp"}
    unlike_llama_cpp = {
        "qwen2moe-renormalised": "its qwen2moe never divides the shares by their sum",
        "qwen3moe-not-renormalised": "its qwen3moe always divides the shares by their sum",
    }
    without_effect = {"feed_forward_length": "the width of layers without experts, of which there are none"}


class TestQwen3Next(ArchitectureConformance):
    oracles = sorted(ORACLES.glob("qwen3next*.npz"))
    architectures = {"qwen3next": qwen3next}
    defaults = HYBRID
    without_effect = {"feed_forward_length": "the width of layers without experts, of which there are none"}
    unlike_llama_cpp = {
        "qwen3next-interval": WIDTHS,
        "qwen3next-with-biases": WIDTHS,
    }


class TestQwen35(ArchitectureConformance):
    oracles = sorted(ORACLES.glob("qwen35*.npz"))
    architectures = {"qwen35": qwen35, "qwen35moe": qwen35moe}
    defaults = HYBRID
    without_effect = {"rope.dimension_sections": SECTIONS}
    unrecorded = {"expert_weights_norm": "always so in transformers; qwen3next has an oracle of it"}
    unlike_llama_cpp = {"qwen35-with-images": WIDTHS, "qwen35moe-interval": WIDTHS}
