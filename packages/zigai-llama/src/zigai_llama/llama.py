"""`llama`: Llama 1 to 3, Mistral and Mixtral.

Sources: Llama, Touvron et al., 2023 (arXiv:2302.13971, arXiv:2307.09288) and Grattafiori et al., 2024
(arXiv:2407.21783); Mistral, Jiang et al., 2023 (arXiv:2310.06825); Mixtral, Jiang et al., 2024
(arXiv:2401.04088).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder, experts


def llama(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm decoder with grouped-query attention, RoPE and SwiGLU.

    `attention.sliding_window` restricts attention to that many positions (Mistral). With `expert_count`, the
    feed-forward layer is a mixture of experts whose shares are rescaled to a sum of one (Mixtral).
    """
    hp = model.hyperparameters
    window = hp.integer("attention.sliding_window", 0) or None
    mixture = experts(hp, renormalise=True) if hp.integer("expert_count", 0) else None
    return decoder(model, context=context, window=window, feed_forward=mixture)
