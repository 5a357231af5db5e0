"""`llama`: Touvron et al., 2023 (arXiv:2302.13971, arXiv:2307.09288); Mistral, arXiv:2310.06825."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder, experts


def llama(model: ModelDescriptor, *, context: int) -> Graph:
    """Pre-norm decoder; how RoPE pairs the elements of a head is the file's convention.

    Attention slides over a window where the file asks for one, and the feed-forward layer is a mixture of
    experts where it has some (Mixtral, arXiv:2401.04088).
    """
    hp = model.hyperparameters
    window = hp.integer("attention.sliding_window", 0) or None
    mixture = experts(hp, renormalise=True) if hp.integer("expert_count", 0) else None
    return decoder(model, context=context, window=window, feed_forward=mixture)
