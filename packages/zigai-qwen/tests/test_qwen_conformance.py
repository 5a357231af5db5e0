"""The graphs of the Qwen family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_qwen import qwen, qwen2, qwen2moe, qwen3, qwen3moe

ORACLES = Path(__file__).parent / "oracles"


class TestDense(ArchitectureConformance):
    oracles = [path for path in sorted(ORACLES.glob("*.npz")) if "moe" not in path.stem]
    architectures = {"qwen": qwen, "qwen2": qwen2, "qwen3": qwen3}


class TestExperts(ArchitectureConformance):
    oracles = sorted(ORACLES.glob("*moe*.npz"))
    architectures = {"qwen2moe": qwen2moe, "qwen3moe": qwen3moe}
    defaults = {"expert_weights_norm": "false in qwen2moe, true in qwen3moe: llama.cpp"}
    unlike_llama_cpp = {
        "qwen2moe-renormalised": "its qwen2moe never divides the shares by their sum",
        "qwen3moe-not-renormalised": "its qwen3moe always divides the shares by their sum",
    }
    without_effect = {"feed_forward_length": "the width of layers without experts, of which there are none"}
