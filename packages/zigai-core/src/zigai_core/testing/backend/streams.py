"""A graph for the conformance suite with several streams side by side, and with a cut of small elements."""

from __future__ import annotations

from zigai_core.contracts.graph import Graph
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.toys import random_tensors

VOCABULARY, WIDTH, STREAMS = 40, 20, 3
TENSORS = random_tensors(
    {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "other_embd.weight": (VOCABULARY // 2, WIDTH),
        "proj.weight": (STREAMS - 1, WIDTH, WIDTH),
        "shares.weight": (STREAMS**2, WIDTH),
        "few.weight": (2 * STREAMS, WIDTH),
        "output.weight": (VOCABULARY, 2 * WIDTH),
    }
)


def streams_graph() -> Graph:
    """Returns a graph with each operation on streams, the outputs `hidden` and `logits`.

    The least square lies among the squares of the streams, so that it counts.
    """
    g = GraphBuilder(TENSORS)
    x = g.scale(g.embedding("token_embd", WIDTH), WIDTH**0.5, name="scaled")
    y = g.scale(g.embedding("other_embd", WIDTH, beyond=3), WIDTH**0.5, name="other")
    others = g.head_linear(g.concat(x, y, name="both"), "proj", STREAMS - 1, WIDTH)
    others = g.match_magnitude(others, x, 0.8, name="as_large")
    streams = g.concat(others, g.gaussian_cut(y, 0.4, name="cut"), name="streams")
    shares = g.unary(g.linear(x, "shares", STREAMS**2), "tanh", name="bounded")
    mixed = g.mix_streams(streams, shares, STREAMS, name="mixed")
    streams = g.select(g.add(mixed, streams, name="sum"))
    few = g.unary(g.linear(g.select(x, name="wanted_x"), "few", 2 * STREAMS), "tanh", name="few_bounded")
    two = g.mix_streams(streams, few, STREAMS, offset=0.5, name="two")
    g.output("hidden", two)
    g.output("logits", g.linear(two, "output", VOCABULARY, name="logits"))
    return g.finish()
