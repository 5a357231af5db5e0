"""The graphs of the Gemma family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_gemma import gemma, gemma2, gemma3, gemma3n, gemma4, gemma_embedding

LAYERS = "its windows and scale follow the number of layers and the width of a head"


class TestGemma(ArchitectureConformance):
    oracles = Path(__file__).parent / "oracles"
    architectures = {
        "gemma": gemma,
        "gemma2": gemma2,
        "gemma3": gemma3,
        "gemma3n": gemma3n,
        "gemma4": gemma4,
        "gemma-embedding": gemma_embedding,
    }
    defaults = {
        "activation_sparsity_scale": "a share of 0.95 in the first ten layers of gemma3n: llama.cpp",
        "altup.active_idx": "0: llama.cpp",
        "altup.num_inputs": "4: llama.cpp",
        "attention.scale": "by the width of a head, of 27B models by width over heads: llama.cpp",
        "attention.sliding_window": "4096 in gemma2: llama.cpp",
        "attn_logit_softcapping": "50 in gemma2: llama.cpp",
        "final_logit_softcapping": "30 in gemma2 and gemma3n: llama.cpp",
        "rope.freq_base_swa": "10000: llama.cpp",
        "pooling_type": "none: llama.cpp",
        "attention.sliding_window_pattern": "5 of 6 layers, in gemma2 1 of 2, in gemma3n 4 of 5: llama.cpp",
    }
    required = {"rope.freq_base": "of gemma3 it is 1000000, which no default of GGUF says"}
    unrecorded = {
        "attention.sliding_window_pattern": "of gemma-embedding, whose files have none: as in gemma3",
    }
    optional = (
        *("output.weight", "*.bias"),
        *("blk.*.layer_output_scale.weight", "blk.*.ffn_down_exps.scale"),  # 1: llama.cpp
        "blk.[12].attn_v.weight",  # full layers of gemma4 without it take the keys for values: llama.cpp
    )
    llama_cpp_tolerance = 2e-2  # it looks the GELU up in a table of float16
    unlike_llama_cpp = {
        "gemma2-scaled": LAYERS,
        "gemma3-scaled": LAYERS,
        "gemma3n": "its ranks and the layers that share a cache are those of the published models",
    }
