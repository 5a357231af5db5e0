"""The graphs of the Mamba family against transformers, by the conformance suite of architectures."""

from __future__ import annotations

from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance
from zigai_mamba import granitehybrid, mamba, mamba2

ORACLES = Path(__file__).parent / "oracles"


class TestMamba(ArchitectureConformance):
    oracles = sorted(ORACLES.glob("*mamba*.npz"))
    architectures = {"mamba": mamba, "mamba2": mamba2}
    without_effect = {
        "attention.head_count": "0 in files, which other readers need; there is no attention",
        "rope.freq_base": "there is no RoPE; of folders it is always read",
        "feed_forward_length": "0 in files, which other readers need; there are no feed-forward layers",
    }
    defaults = {
        "ssm.dt_b_c_rms": "false: llama.cpp",
        "ssm.dt_b_c_rms_epsilon": "that of all norms: llama.cpp",
    }
    unlike_llama_cpp = {
        "mamba-with-biases": "it refuses files with biases of projections",
        "falcon-mamba-epsilon": "it has one epsilon for all norms",
        "mamba2-tied-with-biases": "it refuses files with biases of projections",
        "mamba2-without-biases": "it refuses files without biases of convolutions",
    }


class TestGraniteHybrid(ArchitectureConformance):
    oracles = sorted(ORACLES.glob("granitehybrid*.npz"))
    architectures = {"granitehybrid": granitehybrid}
    defaults = {
        "attention.scale": "1/√head_dim: llama.cpp",
        "embedding_scale": "1: llama.cpp",
        "expert_shared_feed_forward_length": "by its tensors",
        "logit_scale": "1: llama.cpp",
        "residual_scale": "1: llama.cpp",
        "rope.scaling.finetuned": "true: llama.cpp",
    }
    without_effect = {
        "blk.1.attn_k.bias": "without RoPE all scores of a query have the same part of it",
    }
    unlike_llama_cpp = {"granitehybrid-with-biases": "it refuses files with biases of projections"}
