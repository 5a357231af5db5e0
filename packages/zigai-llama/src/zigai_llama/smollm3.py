"""`smollm3`: SmolLM3 (Hugging Face, 2025, https://huggingface.co/blog/smollm3).

Layers without RoPE among others with it: Yang et al., 2025, arXiv:2501.18795.
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder

INTERVAL = 4
"""Every fourth layer has no RoPE. No key of GGUF says so (llama.cpp, src/models/smollm3.cpp)."""


def smollm3(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: the decoder of `llama`, in which every fourth layer has no RoPE."""
    layers = model.hyperparameters.integer("block_count", minimum=1, maximum=4096)
    return decoder(model, context=context, rotated=[(layer + 1) % INTERVAL != 0 for layer in range(layers)])
