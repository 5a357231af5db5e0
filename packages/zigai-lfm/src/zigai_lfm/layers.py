"""The decoder of the family: layers with a gated short convolution or with attention.

Sources: Liquid AI, 2025, arXiv:2511.23404, section 2; names and keys, llama.cpp (src/models/lfm2.cpp) and its
converter (conversion/lfm2.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import DecoderShape, attention, head
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies

FeedForward = Callable[[GraphBuilder, Value, int], Value]
"""`(builder, input, number of the layer) -> output`, of the same width."""


def hybrid(model: ModelDescriptor, *, context: int, feed_forward: FeedForward) -> Graph:
    """Builds the decoder; a layer whose `attention.head_count_kv` is 0 has a convolution, others attention.

    `shortconv.l_cache` is the number of taps of a filter. Queries and keys have norms before RoPE. The norm
    before the head is `token_embd_norm`.
    """
    hp = model.hyperparameters
    counts = _kv_heads(hp)
    # Without any attention, the number of KV heads is that of no layer.
    shape = DecoderShape.of(hp.replaced(attention__head_count_kv=max(counts) or 1))
    taps = hp.integer("shortconv.l_cache", minimum=2)
    g = GraphBuilder(model.tensors)
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    x = g.embedding("token_embd", shape.width)
    for layer, kv_heads in enumerate(counts):
        at, last = f"blk.{layer}", layer == shape.layers - 1
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        if kv_heads:
            own = replace(shape, kv_heads=kv_heads)
            if shape.heads % kv_heads:
                raise hp.error(
                    "attention.head_count_kv", f"is {kv_heads} in layer {layer}, for {shape.heads} heads"
                )
            pairing = model.conventions.rope_pairing
            h = attention(g, h, layer, own, rope, pairing=pairing, qk_norm=True)
            if last:  # from here on only the output rows are computed
                h = g.select(h, name=f"{at}.attn_wanted")
            h = g.linear(h, f"{at}.attn_output", shape.width)
        else:
            h = convolution(g, h, at, taps, last=last)
        if last:
            x = g.select(x, name=f"{at}.wanted")
        x = g.add(x, h, name=f"{at}.attn_residual")
        h = feed_forward(g, g.rms_norm(x, f"{at}.ffn_norm", shape.epsilon), layer)
        x = g.add(x, h, name=f"{at}.ffn_residual")
    head(g, g.rms_norm(x, "token_embd_norm", shape.epsilon))
    return g.finish()


def convolution(g: GraphBuilder, x: Value, at: str, taps: int, *, last: bool) -> Value:
    """Appends a gated short convolution: `[tokens, width]` to the same, or with `last` to `[wanted, width]`.

    With B, C and X the three parts of `in_proj(x)`: `out_proj(C · convolution(B · X))`. Raises `ShapeError`
    for filters that do not have `taps`.
    """
    at, width = f"{at}.shortconv", x.width
    stored = g.shape(f"{at}.conv.weight")
    if stored[-1:] != (taps,):
        raise ShapeError(f"tensor {at}.conv.weight has shape {stored}, but shortconv.l_cache is {taps}")
    parts = g.linear(x, f"{at}.in_proj", 3 * width)
    b, c, h = (g.columns(parts, n * width, width, name=f"{at}.{'bcx'[n]}") for n in range(3))
    h = g.short_conv(g.multiply(b, h, name=f"{at}.bx"), f"{at}.conv", state=at)
    if last:
        c, h = g.select(c, name=f"{at}.c_wanted"), g.select(h, name=f"{at}.conv_wanted")
    return g.linear(g.multiply(c, h, name=f"{at}.gated"), f"{at}.out_proj", width)


def _kv_heads(hp: Hyperparameters) -> tuple[int, ...]:
    """The number of KV heads of each layer, 0 for one with a convolution."""
    layers = hp.integer("block_count", minimum=1, maximum=4096)
    return hp.integers("attention.head_count_kv", layers)
