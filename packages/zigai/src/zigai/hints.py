"""The zigai package that provides each plugin. Core's error for a name that is not installed mentions it."""

from __future__ import annotations

from zigai_core.contracts.plugins import Hints

PACKAGES: Hints = {
    "zigai.formats": {"gguf": "zigai-gguf", "safetensors": "zigai-safetensors"},
    "zigai.architectures": {
        "bert": "zigai-bert",
        "gemma": "zigai-gemma",
        "gemma2": "zigai-gemma",
        "gemma3": "zigai-gemma",
        "gemma-embedding": "zigai-gemma",
        "llama": "zigai-llama",
        "modern-bert": "zigai-bert",
        "nomic-bert": "zigai-bert",
        "phi3": "zigai-phi",
        "qwen": "zigai-qwen",
        "qwen2": "zigai-qwen",
        "qwen2moe": "zigai-qwen",
        "qwen3": "zigai-qwen",
        "qwen3moe": "zigai-qwen",
    },
    "zigai.tokenizers": {
        "bert": "zigai-tokenizers",
        "gpt2": "zigai-tokenizers",
        "llama": "zigai-tokenizers",
    },
    "zigai.backends": {"native": "zigai-kernels", "numpy": "zigai-core"},
    "zigai.sources": {"hf": "zigai-hub", "pypi": "zigai-hub", "alias": "zigai-hub"},
    "zigai.huggingface": {
        "bert": "zigai-bert",
        "gemma": "zigai-gemma",
        "gemma2": "zigai-gemma",
        "gemma3": "zigai-gemma",
        "gemma3_text": "zigai-gemma",
        "llama": "zigai-llama",
        "mistral": "zigai-llama",
        "mixtral": "zigai-llama",
        "modernbert": "zigai-bert",
        "nomic_bert": "zigai-bert",
        "phi3": "zigai-phi",
        "qwen2": "zigai-qwen",
        "qwen2_moe": "zigai-qwen",
        "qwen3": "zigai-qwen",
        "qwen3_moe": "zigai-qwen",
    },
    "zigai.models": {"default": "zigai"},
}
"""Distribution that declares an entry point, by group and name."""
