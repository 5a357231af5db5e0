"""The pairing of elements for RoPE in GGUF files, by `general.architecture`.

Source: `llama_model_rope_type` in llama.cpp (src/llama-model.cpp). For LLaMA and models derived from it,
llama.cpp's converter permutes the rows of queries and keys so that pairs are adjacent. A few models define
adjacent pairs themselves. All other files keep the half-split pairs of Hugging Face's checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import Pairing

ADJACENT = frozenset(
    (
        "llama",
        "llada",
        "llama4",
        "deci",
        "baichuan",
        "starcoder",
        "internlm2",
        "minicpm",
        "xverse",
        "command-r",
        "cohere2",
        "cohere2moe",
        "olmo",
        "arctic",
        "deepseek",
        "deepseek2",
        "deepseek2-ocr",
        "deepseek32",
        "deepseek4",
        "muse-glimmer",
        "plm",
        "chatglm",
        "granite",
        "granitemoe",
        "granitehybrid",
        "graniteswitch",
        "granite_swa",
        "chameleon",
        "bailingmoe",
        "bailingmoe3",
        "neo-bert",
        "smollm3",
        "arcee",
        "ernie4_5",
        "ernie4_5-moe",
        "mistral3",
        "eagle3",
        "mistral4",
        "llama-embed",
        "maincoder",
        "glm4",
        "glm-dsa",
        "dots3note",
        "nanbeige",
        "pockettts",
        "hy_v4",
    )
)
"""Architectures whose files have adjacent pairs (`LLAMA_ROPE_TYPE_NORM`)."""


def rope_pairing(architecture: str, hyperparameters: Mapping[str, Any]) -> Pairing:
    """Returns the pairing in files of `architecture`, `half` for a name that llama.cpp does not know.

    Multi-section RoPE (`rope.dimension_sections` above zero, in models with image input) always pairs halves.
    """
    sections = hyperparameters.get("rope.dimension_sections")
    multi_section = isinstance(sections, np.ndarray) and bool(np.any(sections > 0))
    return "adjacent" if architecture in ADJACENT and not multi_section else "half"
