"""What members of the family share: the fused feed-forward layer, and layers that are not computed."""

from __future__ import annotations

from dataclasses import replace

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder


def fused_gate(g: GraphBuilder, x: Value, at: str, hidden: int) -> Value:
    """Appends a gated layer whose `ffn_up` has the rows of the gate first: `[n, width]` to the same shape."""
    both = g.linear(x, f"{at}.ffn_up", 2 * hidden, name=f"{at}.ffn_gate_up")
    gate = g.columns(both, 0, hidden, name=f"{at}.ffn_gate")
    up = g.columns(both, hidden, hidden, name=f"{at}.ffn_up")
    h = g.gated_activation(gate, up, activation="silu", name=f"{at}.ffn_act")
    return g.linear(h, f"{at}.ffn_down", x.width)


def without_layers_ahead(g: GraphBuilder, hp: Hyperparameters, shape: DecoderShape) -> DecoderShape:
    """Leaves out the last `nextn_predict_layers` of the layers, which guess further tokens."""
    ahead = hp.integer("nextn_predict_layers", 0, maximum=shape.layers - 1)
    for layer in range(shape.layers - ahead, shape.layers):
        g.leave_out(f"blk.{layer}.*", "layers that guess several tokens ahead are not computed")
    return replace(shape, layers=shape.layers - ahead)
