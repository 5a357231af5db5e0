"""The graphs of the GLM family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_glm import chatglm, glm4, glm4moe


class TestGlm(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {"chatglm": chatglm, "glm4": glm4, "glm4moe": glm4moe}
    optional = ("output.weight", "*.bias")
    defaults = {
        "expert_gating_func": "sigmoid: llama.cpp",
        "expert_group_count": "1: llama.cpp",
        "expert_group_used_count": "all groups",
        "expert_weights_norm": "false: llama.cpp",
        "expert_weights_scale": "1: llama.cpp",
        "leading_dense_block_count": "0: llama.cpp",
        "rope.dimension_count": "a whole head: llama.cpp",
        "rope.scaling.original_context_length": "context_length: llama.cpp",
        "rope.scaling.type": "linear: llama.cpp",
    }
    unrecorded = {"nextn_predict_layers": "transformers does not compute these layers: test_glm.py"}
