"""The graphs of the LLaMA family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_llama import exaone4, granite, granitemoe, llama, mistral3, olmo2, seed_oss, smollm3

BIASES = "it refuses files with a bias of the output projection"


class TestLlama(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {
        "exaone4": exaone4,
        "granite": granite,
        "granitemoe": granitemoe,
        "llama": llama,
        "mistral3": mistral3,
        "olmo2": olmo2,
        "seed_oss": seed_oss,
        "smollm3": smollm3,
    }
    optional = ("output.weight", "*.bias", "rope_freqs.weight")
    defaults = {
        "attention.scale": "1/√head_dim: llama.cpp",
        "attention.sliding_window_pattern": "three of four layers: llama.cpp",
        "attention.temperature_scale": "none: llama.cpp",
        "embedding_scale": "1: llama.cpp",
        "residual_scale": "1: llama.cpp",
        "rope.freq_base_swa": "rope.freq_base: llama.cpp",
        "rope.scaling.yarn_log_multiplier": "0: llama.cpp",
        "rope.scaling.yarn_beta_fast": "32: llama.cpp",
        "rope.scaling.yarn_beta_slow": "1: llama.cpp",
        "rope.scaling.yarn_attn_factor": "by the factor: llama.cpp",
    }
    without_effect = {
        "blk.3.attn_k.bias": "without RoPE all scores of a query have the same part of it, as in smollm3",
    }
    unrecorded = {
        "expert_weights_norm": "Mixtral has no such setting in transformers; qwen3moe has an oracle of it"
    }
    unlike_llama_cpp = {
        "olmo2-with-biases": BIASES,
        "olmo3": "it reads the bounds of YaRN in other architectures alone (src/models)",
        "olmo3-two-bases": "its windowed layers have the base of the full ones",
        "seed_oss-with-all-biases": BIASES,
        "smollm3-with-biases": BIASES,
        "exaone4": "it has windows in models of 64 layers alone",
        "mistral": "its llama has no window",
    }
