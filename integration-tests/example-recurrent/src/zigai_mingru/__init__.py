"""The architecture `mingru`: a decoder whose layers mix tokens by a recurrence in place of attention."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import TOKENS, Array, Graph, Operation, Step, Value
from zigai_core.contracts.state import Recurrent, State
from zigai_core.ops.blocks import gated
from zigai_core.ops.builder import GraphBuilder


@dataclass(frozen=True, eq=False)
class MinGRU(Operation):
    """minGRU (Feng et al., 2024, arXiv:2410.01201, section 3.1): `[tokens, width]` three times.

    `h[t] = (1 - z[t]) · h[t - 1] + z[t] · candidate[t]` with `z = sigmoid(gate)`, elementwise. `state` holds
    `h`, float32 `[width]`: zeros before a sequence's first token.
    """

    gate: Value
    candidate: Value
    state: State

    def fault(self) -> str | None:
        """Returns why the values do not fit each other; None if they do."""
        shapes = {(value.width, value.rows) for value in (self.gate, self.candidate, self.output)}
        fits = self.state.spec == Recurrent({"h": ((self.output.width,), "float32")})
        if len(shapes) == 1 and self.output.rows == TOKENS and fits:
            return None
        return f"its gate, candidate, output and state must have a row of {self.output.width} for each token"

    def evaluate(self, step: Step) -> Array:
        """Returns the state after each row: float32 `[tokens, width]`."""
        memory, written = step.recurrent(self.state), step.recurrent(self.state).written()
        with np.errstate(over="ignore"):
            z: Array = np.reciprocal(1 + np.exp(-step[self.gate]))
        keep, add = 1 - z, z * step[self.candidate]
        out = np.empty_like(add)
        latest: dict[int, Array] = {}  # of each sequence in this step
        for row, sequence in enumerate(step.batch.sequences.tolist()):
            h = latest[sequence] if sequence in latest else memory.read(sequence)["h"]
            out[row] = latest[sequence] = keep[row] * h + add[row]
            if row in written:
                memory.write(row, {"h": out[row]})
        return out


def mingru(model: ModelDescriptor, *, context: int) -> Graph:
    """The graph of a model whose file has `general.architecture = mingru`."""
    hp = model.hyperparameters
    width = hp.integer("embedding_length", minimum=1)
    size = hp.integer("recurrent.state_length", width, minimum=1)
    hidden = hp.integer("feed_forward_length", minimum=1)
    layers = hp.integer("block_count", minimum=1)
    epsilon = hp.number("attention.layer_norm_rms_epsilon", minimum=0.0)

    g = GraphBuilder(model.tensors)
    x = g.embedding("token_embd", width)
    for layer in range(layers):
        at = f"blk.{layer}"
        h = g.rms_norm(x, f"{at}.gru_norm", epsilon)
        gate, candidate = g.linear(h, f"{at}.gru_gate", size), g.linear(h, f"{at}.gru_candidate", size)
        state = g.state(f"{at}.gru", Recurrent({"h": ((size,), "float32")}))
        h = g.append(MinGRU(Value(f"{at}.gru", size), gate, candidate, state))
        if layer == layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.gru_wanted"), g.select(x, name=f"{at}.wanted")
        x = g.add(x, g.linear(h, f"{at}.gru_output", width), name=f"{at}.gru_residual")
        h = g.rms_norm(x, f"{at}.ffn_norm", epsilon)
        x = g.add(x, gated(g, h, at, hidden), name=f"{at}.ffn_residual")
    x = g.rms_norm(x, "output_norm", epsilon)
    g.output("hidden", x)
    head = "output" if g.has("output.weight") else "token_embd"
    g.output("logits", g.linear(x, head, g.shape(f"{head}.weight")[0], name="logits"))
    return g.finish()
