"""Which of our packages serves what: core asks for it where a name is not installed."""

from __future__ import annotations

from zigai_core.contracts.plugins import Hints

PACKAGES: Hints = {
    "zigai.formats": {"gguf": "zigai-gguf"},
    "zigai.architectures": {
        "llama": "zigai-llama",
        "qwen": "zigai-qwen",
        "qwen2": "zigai-qwen",
        "qwen2moe": "zigai-qwen",
        "qwen3": "zigai-qwen",
        "qwen3moe": "zigai-qwen",
    },
    "zigai.tokenizers": {"llama": "zigai-tokenizers", "gpt2": "zigai-tokenizers"},
    "zigai.backends": {"native": "zigai-kernels", "numpy": "zigai-core"},
    "zigai.models": {"default": "zigai"},
}
"""By entry-point group and name, the distribution that declares it."""
