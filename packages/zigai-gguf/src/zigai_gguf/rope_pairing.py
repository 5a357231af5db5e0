"""How GGUF files pair the elements of a head for RoPE, by the architecture they name.

Source: `llama_model_rope_type` in llama.cpp (src/llama-model.cpp). Its converter permutes rows of queries and
keys for LLaMA and what is built like it, so that pairs are adjacent; other files keep the halves of Hugging
Face's checkpoints, and a few models pair neighbours themselves.
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
"""Architectures whose files hold adjacent pairs (`LLAMA_ROPE_TYPE_NORM`)."""


def rope_pairing(architecture: str, hyperparameters: Mapping[str, Any]) -> Pairing:
    """The pairing in files of `architecture`; `half` for a name that llama.cpp does not know.

    An image model's files (`rope.dimension_sections` above zero) hold halves, as its text model's may not.
    """
    sections = hyperparameters.get("rope.dimension_sections")
    several = isinstance(sections, np.ndarray) and bool(np.any(sections > 0))
    return "adjacent" if architecture in ADJACENT and not several else "half"
