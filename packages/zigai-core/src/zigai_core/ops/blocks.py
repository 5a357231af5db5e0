"""A pre-norm decoder and its blocks, for architectures to share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import PluginError, ShapeError
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Activation, Pairing
from zigai_core.ops.rope import RopeFrequencies, rope_frequencies


@dataclass(frozen=True)
class DecoderShape:
    """The sizes of a decoder: numbers of layers and heads, widths in elements.

    `width` is that of the residual stream, `hidden` that of the feed-forward layer, `head_dim` that of a
    head's query and key, `value_dim` that of its value. `hidden` may be 0 if the file has experts.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    hidden: int
    epsilon: float

    @classmethod
    def of(cls, hp: Hyperparameters) -> DecoderShape:
        """Returns the sizes from a file. Raises `FormatError` for a key that is missing or out of range."""
        width = hp.integer("embedding_length", minimum=1)
        heads = hp.integer("attention.head_count", minimum=1)
        kv_heads = hp.integer("attention.head_count_kv", heads, minimum=1)
        if heads % kv_heads:
            raise hp.error(
                "attention.head_count",
                f"is {heads}, not a multiple of attention.head_count_kv, {kv_heads}",
            )
        head_dim = hp.integer("attention.key_length", width // heads, minimum=1)
        if hp.integer("expert_feed_forward_length", 0):  # all layers may be mixtures of experts
            hidden = hp.integer("feed_forward_length", 0)
        else:
            hidden = hp.integer("feed_forward_length", minimum=1)
        return cls(
            layers=hp.integer("block_count", minimum=1, maximum=4096),
            width=width,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            value_dim=hp.integer("attention.value_length", head_dim, minimum=1),
            hidden=hidden,
            epsilon=hp.number("attention.layer_norm_rms_epsilon", minimum=0.0),
        )


QKNorm = bool | Literal["row"]
"""Whether queries and keys have a norm: of each head, or of the whole row."""

Block = Callable[[GraphBuilder, Value, str], Value]
"""A part of a layer: `(builder, input, prefix of the layer's tensors) -> output`, of the same width."""


def decoder(
    model: ModelDescriptor,
    *,
    context: int,
    pairing: Pairing | None = None,
    window: int | None = None,
    rotated: Sequence[bool] | None = None,
    qk_norm: QKNorm = False,
    query: Block | None = None,
    activation: Activation = "silu",
    feed_forward: Block | None = None,
    feed_forward_norm: str = "ffn_norm",
    inputs: bool = False,
) -> Graph:
    """Builds a pre-norm decoder: embedding, layers of attention and feed-forward with residuals, norm, head.

    The head is `output.weight`, or the embedding if the file has no such tensor (tied weights). `pairing`
    defaults to that of the file, `model.conventions.rope_pairing`. `rotated` has a flag for each layer, false
    for one without RoPE; all have it by default. `qk_norm` and `query`: see `attention`. `feed_forward`
    replaces the gated feed-forward layer; `feed_forward_norm` is the name of the norm before it. After the
    attention of the last layer, only output rows are computed. With `inputs`, embeddings may stand in place
    of tokens: see `GraphBuilder.inputs`.

    `FormatError`, `ShapeError` and `UnsupportedError` are raised as for an `Architecture`; `PluginError` if
    `rotated` does not have a flag for each layer.
    """
    g = GraphBuilder(model.tensors)
    pairing = pairing or model.conventions.rope_pairing
    shape = DecoderShape.of(model.hyperparameters)
    if rotated is not None and len(rotated) != shape.layers:
        raise PluginError(f"rotated has {len(rotated)} flags, but the decoder has {shape.layers} layers")
    rope = rope_frequencies(g, model.hyperparameters, shape.head_dim, context=context)
    x = g.embedding("token_embd", shape.width)
    if inputs:
        x = g.inputs(x)
    for layer in range(shape.layers):
        at = f"blk.{layer}"
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        own = rope if rotated is None or rotated[layer] else None
        h = attention(g, h, layer, shape, own, pairing=pairing, window=window, qk_norm=qk_norm, query=query)
        if layer == shape.layers - 1:
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        x = g.add(x, g.linear(h, f"{at}.attn_output", shape.width), name=f"{at}.attn_residual")
        h = g.rms_norm(x, f"{at}.{feed_forward_norm}", shape.epsilon)
        h = feed_forward(g, h, at) if feed_forward else gated(g, h, at, shape.hidden, activation)
        x = g.add(x, h, name=f"{at}.ffn_residual")
    head(g, g.rms_norm(x, "output_norm", shape.epsilon))
    return g.finish()


def head(g: GraphBuilder, x: Value, *, scale: float = 1.0) -> None:
    """Makes `x`, the last normalised state, the output `hidden`, and its logits times `scale` `logits`.

    The weight is `output.weight`, or the embedding if the file has no such tensor (tied weights).
    """
    g.output("hidden", x)
    weight = "output" if g.has("output.weight") else "token_embd"
    rows = g.shape(f"{weight}.weight")[0]
    if scale == 1:
        g.output("logits", g.linear(x, weight, rows, name="logits"))
    else:
        g.output("logits", g.scale(g.linear(x, weight, rows, name="scores"), scale, name="logits"))


def attention(
    g: GraphBuilder,
    x: Value,
    layer: int,
    shape: DecoderShape,
    rope: RopeFrequencies | None,
    *,
    pairing: Pairing,
    window: int | None = None,
    qk_norm: QKNorm = False,
    query: Block | None = None,
    scale: float | None = None,
) -> Value:
    """Appends the projections of `x` to queries, keys and values, RoPE, and attention over the layer's cache.

    `[tokens, width]` to `[tokens, heads · value_dim]`, without the output projection. With `rope` None the
    layer has no RoPE. `qk_norm` applies RMSNorm to queries and keys before it, to each head of them, or to
    the whole row if it is "row". `query` is applied to queries after RoPE, such as a temperature by position.
    `scale` is that of `GraphBuilder.attention`.
    """
    at = f"blk.{layer}"
    q, k, v = projections(g, x, at, shape)
    group = None if qk_norm == "row" else shape.head_dim

    def rotated(y: Value, part: str) -> Value:
        if qk_norm:
            y = g.rms_norm(y, f"{at}.{part}_norm", shape.epsilon, group=group)
        if rope is None:
            return y
        name = f"{at}.{part}_rope"
        return g.rope(y, shape.head_dim, rope.frequencies, pairing, magnitude=rope.magnitude, name=name)

    q, k = rotated(q, "attn_q"), rotated(k, "attn_k")
    return g.attention(
        q if query is None else query(g, q, at),
        k,
        v,
        state=at,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        value_dim=shape.value_dim,
        scale=scale,
        window=window,
        name=f"{at}.attention",
    )


def experts(hp: Hyperparameters, *, renormalise: bool, shared: bool = False) -> Block:
    """Returns a mixture-of-experts block; with `shared`, it adds a gated shared expert for every token.

    `renormalise` divides the shares of the chosen experts by their sum, unless the file says otherwise.
    Raises `FormatError` for a key that is missing or out of range.
    """
    count = hp.integer("expert_count", minimum=1, maximum=65536)
    used = hp.integer("expert_used_count", minimum=1, maximum=count)
    hidden = hp.integer("expert_feed_forward_length", hp.get("feed_forward_length"), minimum=1)
    renormalise = hp.flag("expert_weights_norm", renormalise)

    def block(g: GraphBuilder, x: Value, at: str) -> Value:
        scores = g.linear(x, f"{at}.ffn_gate_inp", count)
        shares = g.route(scores, used=used, renormalise=renormalise, name=f"{at}.ffn_shares")
        y = g.experts(x, shares, at, used=used, hidden=hidden)
        if not shared:
            return y
        own = hp.integer(
            "expert_shared_feed_forward_length", g.shape(f"{at}.ffn_gate_shexp.weight")[0], minimum=1
        )
        always = g.sigmoid_gate(x, gated(g, x, at, own, part="_shexp"), f"{at}.ffn_gate_inp_shexp")
        return g.add(y, always, name=f"{at}.ffn_out")

    return block


def projections(g: GraphBuilder, x: Value, at: str, shape: DecoderShape) -> tuple[Value, Value, Value]:
    """Appends the projections of `x` to queries, keys and values.

    If the file has `attn_qkv`, one matrix computes all three; otherwise there is a matrix for each.
    """
    keys, values = shape.kv_heads * shape.head_dim, shape.kv_heads * shape.value_dim
    widths = (shape.heads * shape.head_dim, keys, values)
    names = (f"{at}.attn_q", f"{at}.attn_k", f"{at}.attn_v")
    fused_name = f"{at}.attn_qkv.weight"
    if not g.has(fused_name) and not g.has(f"{names[0]}.weight"):
        raise ShapeError(
            f"tensors {names[0]}.weight and {fused_name} are both missing from the file; the architecture "
            "needs one of them"
        )
    if not g.has(fused_name):
        query, key, value = (g.linear(x, name, width) for name, width in zip(names, widths, strict=True))
        return query, key, value
    fused = g.linear(x, f"{at}.attn_qkv", sum(widths))
    starts = (0, widths[0], widths[0] + widths[1])
    query, key, value = (
        g.columns(fused, start, width, name=name)
        for name, start, width in zip(names, starts, widths, strict=True)
    )
    return query, key, value


def gated(
    g: GraphBuilder, x: Value, at: str, hidden: int, activation: Activation = "silu", *, part: str = ""
) -> Value:
    """Appends a gated feed-forward layer: `down(activation(gate(x)) · up(x))`, of the shape of `x`.

    `part` is a suffix of the names of its tensors, if a layer has more than one.
    """
    gate = g.linear(x, f"{at}.ffn_gate{part}", hidden)
    up = g.linear(x, f"{at}.ffn_up{part}", hidden)
    h = g.gated_activation(gate, up, activation=activation, name=f"{at}.ffn_act{part}")
    return g.linear(h, f"{at}.ffn_down{part}", x.width)
