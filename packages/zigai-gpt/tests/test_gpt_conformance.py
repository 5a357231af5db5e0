"""The graphs of the GPT family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_gpt import gpt_oss


class TestGpt(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {"gpt-oss": gpt_oss}
    defaults = {
        "attention.sliding_window_pattern": "every second layer is full: llama.cpp",
        "rope.scaling.original_context_length": "context_length: llama.cpp",
        "rope.scaling.type": "linear: llama.cpp",
        "rope.scaling.yarn_attn_factor": "1 + 0.1 ln(factor): llama.cpp",
        "rope.scaling.yarn_beta_fast": "32: llama.cpp",
        "rope.scaling.yarn_beta_slow": "1: llama.cpp",
        "rope.scaling.yarn_truncate": "false, as the models were trained; GGUF has no key for it",
        "swiglu_clamp_exp": "7: llama.cpp",
    }
    required = {"attention.sliding_window": "llama.cpp asks for it, too"}
    unlike_llama_cpp = {
        "gpt-oss-yarn": "it rounds the bounds of YaRN (ggml_rope_yarn_corr_dims), and has its own magnitude",
        "gpt-oss-clamped": "its limit of gate and up is 7 in all files (src/llama-graph.cpp)",
    }
