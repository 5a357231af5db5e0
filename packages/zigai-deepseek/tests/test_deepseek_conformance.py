"""The graphs of the DeepSeek family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_deepseek import deepseek2


class TestDeepseek(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {"deepseek2": deepseek2}
    defaults = {
        "attention.head_count_kv": "1, as the latent is the key of all heads; files from before it: heads",
        "attention.key_length": "the latent and the rotated elements, whose sizes are keys of their own",
        "attention.value_length": "the latent",
        "expert_gating_func": "sigmoid with a bias for the choice, else softmax: DeepSeek-V3 alone has both",
        "expert_group_count": "1: llama.cpp",
        "expert_group_used_count": "all groups",
        "expert_weights_norm": "false: llama.cpp",
        "expert_weights_scale": "1: llama.cpp",
        "leading_dense_block_count": "0: llama.cpp",
        "rope.scaling.original_context_length": "context_length: llama.cpp",
        "rope.scaling.type": "linear: llama.cpp",
        "rope.scaling.yarn_attn_factor": "1, or by the factor without yarn_log_multiplier: llama.cpp",
        "rope.scaling.yarn_beta_fast": "32: llama.cpp",
        "rope.scaling.yarn_beta_slow": "1: llama.cpp",
        "rope.scaling.yarn_log_multiplier": "0: llama.cpp",
    }
    unrecorded = {"nextn_predict_layers": "transformers does not compute these layers: test_deepseek.py"}
    unlike_llama_cpp = {
        "deepseek2-groups": "it ranks groups by their best two experts in all models",
        "deepseek3-biases": "it refuses files with biases of projections",
    }
