"""The conformance suite for the outputs of a graph."""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.toys import random_tensors

VOCABULARY, WIDTH, HIDDEN = 40, 32, 48


def encoder_tensors(vocabulary: int = VOCABULARY) -> dict[str, TensorInfo]:
    """Returns an embedding, its norm and a feed-forward layer."""
    return random_tensors(
        {
            "token_embd.weight": (vocabulary, WIDTH),
            "token_embd_norm.weight": (WIDTH,),
            "token_embd_norm.bias": (WIDTH,),
            "blk.0.ffn_gate.weight": (HIDDEN, WIDTH),
            "blk.0.ffn_up.weight": (HIDDEN, WIDTH),
            "blk.0.ffn_down.weight": (WIDTH, HIDDEN),
            "output_norm.weight": (WIDTH,),
        }
    )


def encoder_graph(tensors: dict[str, TensorInfo], output: str = "hidden") -> Graph:
    """Returns a graph with one output of this name, `[wanted, WIDTH]`."""
    g = GraphBuilder(tensors)
    g.output(output, _encoded(g))
    return g.finish()


def _encoded(g: GraphBuilder) -> Value:
    x = g.layer_norm(g.embedding("token_embd", WIDTH), "token_embd_norm", 1e-5)
    gate, up = g.linear(x, "blk.0.ffn_gate", HIDDEN), g.linear(x, "blk.0.ffn_up", HIDDEN)
    y = g.linear(g.gated_activation(gate, up, name="blk.0.ffn_act"), "blk.0.ffn_down", WIDTH)
    return g.rms_norm(g.select(g.add(x, y, name="blk.0.ffn_residual")), "output_norm", 1e-5)


class OutputsConformance(Conformance):
    """Tests of outputs: no name is required, and a value may be used more than once."""

    def test_a_graph_without_logits_returns_its_outputs(self) -> None:
        tensors = encoder_tensors()
        for name in ("hidden", "scores"):
            outputs = self._outputs_agree(encoder_graph(tensors, name), tensors, range(VOCABULARY), name)
            assert {key: rows.shape for key, rows in outputs.items()} == {name: (VOCABULARY, WIDTH)}

    def test_a_value_may_be_two_outputs_and_be_used_further(self) -> None:
        tensors = encoder_tensors()
        g = GraphBuilder(tensors)
        hidden = _encoded(g)
        logits = g.linear(hidden, "token_embd", VOCABULARY, name="logits")
        for name, value in (("hidden", hidden), ("again", hidden), ("logits", logits)):
            g.output(name, value)
        g.output("capped", g.soft_cap(logits, 2.0, name="capped"))
        outputs = self._outputs_agree(g.finish(), tensors, range(VOCABULARY))
        np.testing.assert_array_equal(outputs["hidden"], outputs["again"])
