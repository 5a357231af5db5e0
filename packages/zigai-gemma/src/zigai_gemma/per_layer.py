"""Inputs of each layer, of which Gemma 3n and Gemma 4 look a part up for each token.

Sources: transformers (models/gemma4, `project_per_layer_inputs`), llama.cpp (src/models/gemma4.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.graph import Value
from zigai_core.ops.builder import GraphBuilder


@dataclass(frozen=True, eq=False)
class PerLayerInputs:
    """The inputs of all layers side by side: `all` is `[tokens, layers · width]`."""

    g: GraphBuilder
    all: Value
    width: int

    def of(self, number: int) -> Value:
        """Appends the columns of a layer: `[tokens, width]`."""
        return self.g.columns(self.all, number * self.width, self.width, name=f"blk.{number}.input")


def per_layer_inputs(
    g: GraphBuilder, x: Value, layers: int, width: int, epsilon: float, *, beyond: int | None = None
) -> PerLayerInputs:
    """Appends the inputs of all layers from the scaled embedding `x`, `[tokens, model's width]`.

    They are the mean of two parts times √2: rows of `per_layer_token_embd`, scaled as embeddings are, and a
    projection of `x` with a norm for each layer. The table is as large as the rest of a model: its rows are
    read from the file. `beyond`: the row of tokens that it does not have.
    """
    total = layers * width
    found = g.scale(
        g.embedding("per_layer_token_embd", total, beyond=beyond), width**0.5, name="per_layer_embd_scaled"
    )
    made = g.linear(x, "per_layer_model_proj", total)
    made = g.scale(made, x.width**-0.5, name="per_layer_model_scaled")
    made = g.rms_norm(made, "per_layer_proj_norm", epsilon, group=width)
    both = g.scale(g.add(made, found, name="per_layer_sum"), 2.0**-0.5, name="per_layer_inputs")
    return PerLayerInputs(g, both, width)


def gated_input(g: GraphBuilder, x: Value, own: Value, at: str, epsilon: float) -> Value:
    """Appends what a layer makes of its own input, gated by `x`, and the norm of it: of the shape of `x`."""
    gate = g.linear(x, f"{at}.inp_gate", own.width)
    h = g.gated_activation(gate, own, activation="gelu_tanh", name=f"{at}.inp_act")
    return g.rms_norm(g.linear(h, f"{at}.proj", x.width), f"{at}.post_norm", epsilon)
