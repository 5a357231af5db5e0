"""`seed_oss`: Seed-OSS (ByteDance Seed, 2025, https://huggingface.co/ByteDance-Seed/Seed-OSS-36B-Instruct)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder


def seed_oss(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: the decoder of `llama`, with biases of queries, keys and values.

    The norm before the feed-forward layer is `post_attention_norm` (llama.cpp, src/models/seed-oss.cpp).
    """
    return decoder(model, context=context, feed_forward_norm="post_attention_norm")
