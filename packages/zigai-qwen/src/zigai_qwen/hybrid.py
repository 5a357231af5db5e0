"""What Qwen3-Next and Qwen3.5 share: layers with a gated delta net, and some with gated attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, Pairing
from zigai_core.contracts.errors import quote
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import Block, DecoderShape, gated, head
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import HeadOrder
from zigai_core.ops.rope import RopeFrequencies, rope_frequencies
from zigai_qwen.delta_net import DeltaNetShape, delta_net

RECURRENT = "attention.recurrent_layers"
INTERVAL = "full_attention_interval"
NEXTN = "nextn_predict_layers"


def hybrid(
    model: ModelDescriptor,
    *,
    context: int,
    order: HeadOrder,
    fused: bool = False,
    feed_forward: Block | None = None,
) -> Graph:
    """Builds the graph: a pre-norm decoder whose layers have a gated delta net, or gated attention.

    `order` and `fused`: see `delta_net`. `feed_forward` replaces the gated feed-forward layer. The layers
    that predict more than one token ahead, the last `nextn_predict_layers`, are left out. Errors are those of
    an `Architecture`.
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    ahead = hp.integer(NEXTN, 0, maximum=shape.layers - 1)
    recurrent = recurrent_layers(hp, shape.layers)[: shape.layers - ahead]
    net = DeltaNetShape.of(hp)
    g = GraphBuilder(model.tensors)
    for number in range(len(recurrent), shape.layers):
        g.leave_out(f"blk.{number}.*", "tokens further ahead than the next one are not predicted")
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    x = g.embedding("token_embd", shape.width)
    for number, is_recurrent in enumerate(recurrent):
        at, last = f"blk.{number}", number == len(recurrent) - 1
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        if is_recurrent:
            y, gate = delta_net(g, h, at, net, order, fused=fused), h
        else:
            y, gate = _attention(g, h, at, shape, rope, model.conventions.rope_pairing)
        if last:  # from here on only the output rows are computed
            y, x = g.select(y, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
            gate = g.select(gate, name=f"{at}.gate_wanted")
        if is_recurrent:
            y = g.rms_norm(y, f"{at}.ssm_norm", shape.epsilon, group=net.value_dim)
            gate = g.linear(gate, f"{at}.attn_gate", net.values)
            y = g.gated_activation(gate, y, activation="silu", name=f"{at}.ssm_gated")
            y = g.linear(y, f"{at}.ssm_out", shape.width)
        else:
            y = g.multiply(y, g.unary(gate, "sigmoid", name=f"{at}.attn_share"), name=f"{at}.attn_gated")
            y = g.linear(y, f"{at}.attn_output", shape.width)
        x = g.add(x, y, name=f"{at}.attn_residual")
        h = g.rms_norm(x, f"{at}.post_attention_norm", shape.epsilon)
        h = feed_forward(g, h, at) if feed_forward else gated(g, h, at, shape.hidden)
        x = g.add(x, h, name=f"{at}.ffn_residual")
    head(g, g.rms_norm(x, "output_norm", shape.epsilon))
    return g.finish()


def recurrent_layers(hp: Hyperparameters, layers: int) -> Sequence[bool]:
    """Returns whether each layer has a gated delta net.

    `attention.recurrent_layers` holds a flag for each layer, or one for all; without it, every n-th layer has
    attention, with n `full_attention_interval`, 4 by default. Raises `FormatError` for flags that are none,
    or too few. Source: llama.cpp (src/models/qwen3next.cpp).
    """
    interval = hp.integer(INTERVAL, 4, minimum=1)
    given = hp.get(RECURRENT)
    if given is None:
        return [(number + 1) % interval != 0 for number in range(layers)]
    flags = [*given] if isinstance(given, (list, tuple, np.ndarray)) else [given] * layers
    if len(flags) != layers or not all(isinstance(flag, (bool, np.bool_)) for flag in flags):
        raise hp.error(RECURRENT, f"is {quote(given)}, but must hold true or false for {layers} layers")
    return [bool(flag) for flag in flags]


def _attention(
    g: GraphBuilder, x: Value, at: str, shape: DecoderShape, rope: RopeFrequencies, pairing: Pairing
) -> tuple[Value, Value]:
    """Appends attention with norms of each head of queries and keys, and the gate of its result.

    Both are `[tokens, heads · head_dim]`; of each head, `attn_q` computes the query and then the gate.
    """
    dim = shape.head_dim
    both = g.linear(x, f"{at}.attn_q", 2 * shape.heads * dim)
    q = g.columns(both, 0, dim, groups=shape.heads, name=f"{at}.attn_q_query")
    gate = g.columns(both, dim, dim, groups=shape.heads, name=f"{at}.attn_q_gate")
    k = g.linear(x, f"{at}.attn_k", shape.kv_heads * dim)
    v = g.linear(x, f"{at}.attn_v", shape.kv_heads * shape.value_dim)

    def rotated(y: Value, part: str) -> Value:
        y = g.rms_norm(y, f"{at}.{part}_norm", shape.epsilon, group=dim)
        name = f"{at}.{part}_rope"
        return g.rope(y, dim, rope.frequencies, pairing, magnitude=rope.magnitude, name=name)

    y = g.attention(
        rotated(q, "attn_q"),
        rotated(k, "attn_k"),
        v,
        state=at,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=dim,
        value_dim=shape.value_dim,
        name=f"{at}.attention",
    )
    return y, gate
