"""`llama`: Touvron et al., 2023 (arXiv:2302.13971, arXiv:2307.09288); Mistral, arXiv:2310.06825."""

from __future__ import annotations

from zigai_core.blocks import decoder
from zigai_core.descriptor import ModelDescriptor
from zigai_core.errors import UnsupportedError
from zigai_core.graph import Graph


def llama(model: ModelDescriptor, *, context: int) -> Graph:
    """RoPE turns adjacent pairs: GGUF files hold queries and keys permuted for it.

    Attention slides over a window where the file asks for one. `UnsupportedError` for a mixture of experts.
    """
    hp = model.hyperparameters
    if hp.integer("expert_count", 0):
        raise UnsupportedError(
            f"{model.name} is a mixture of {hp['expert_count']} experts (expert_count), which zigai-llama "
            "does not serve yet"
        )
    window = hp.integer("attention.sliding_window", 0) or None
    return decoder(model, context=context, pairing="adjacent", window=window)
