"""Graphs for conformance suites: together they hold every operation, and a plugin's own one with a state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.graph import Array, Graph, Operation, Step, Value, Weight
from zigai_core.contracts.state import Recurrent, State
from zigai_core.ops.alibi import alibi_slopes
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import HeadOrder
from zigai_core.testing.backend.columns import TENSORS as COLUMNS_TENSORS
from zigai_core.testing.backend.columns import VOCABULARY as COLUMNS_VOCABULARY
from zigai_core.testing.backend.columns import columns_graph
from zigai_core.testing.backend.experts import EXPERTS, ROUTES, experts_graph, experts_tensors
from zigai_core.testing.backend.experts import VOCABULARY as EXPERTS_VOCABULARY
from zigai_core.testing.backend.pool import TENSORS as POOLED_TENSORS
from zigai_core.testing.backend.pool import VOCABULARY as POOLED_VOCABULARY
from zigai_core.testing.backend.pool import pooling
from zigai_core.testing.backend.states import VOCABULARY as STATE_VOCABULARY
from zigai_core.testing.backend.states import state_tensors, two_layers
from zigai_core.testing.backend.streams import TENSORS as STREAMS_TENSORS
from zigai_core.testing.backend.streams import VOCABULARY as STREAMS_VOCABULARY
from zigai_core.testing.backend.streams import streams_graph
from zigai_core.testing.toys import random_tensors, toy_decoder

VOCABULARY, WIDTH, HIDDEN, HEADS, HEAD = 40, 32, 48, 4, 8
FREQUENCIES = np.array([1.0, 0.3, 0.1], np.float32)


class GraphCase(NamedTuple):
    """A graph with its tensors, and at least 18 tokens of a sequence."""

    name: str
    graph: Graph
    tensors: Mapping[str, TensorInfo]
    tokens: Sequence[int]


@dataclass(frozen=True, eq=False)
class DecayingSum(Operation):
    """An operation of a plugin: `s[t] = decay · s[t - 1] + x[t]`, and the output is `s[t] / (1 + t / 64)`.

    `decay` is a tensor `[width]`. The state holds `sum`, float32 `[width]`, and `count`, int32 `[1]`, the
    number t of tokens before.
    """

    x: Value
    decay: Weight
    state: State

    def evaluate(self, step: Step) -> Array:
        """Returns the output, float32 `[rows, width]`."""
        x, memory, decay = step[self.x], step.recurrent(self.state), step.weight(self.decay)
        out = np.empty_like(x)
        latest: dict[int, Mapping[str, Array]] = {}
        for row, sequence in enumerate(step.batch.sequences.tolist()):
            before = latest[sequence] if sequence in latest else memory.read(sequence)
            after = {"sum": decay * before["sum"] + x[row], "count": before["count"] + 1}
            out[row] = after["sum"] / (1 + before["count"] / np.float32(64))
            memory.write(row, after)
            latest[sequence] = after
        return out


def decaying_sum(g: GraphBuilder, x: Value, name: str) -> Value:
    """Appends a `DecayingSum` with the tensor `decay.weight` and a state of its own."""
    spec = Recurrent({"sum": ((x.width,), "float32"), "count": ((1,), "int32")})
    weight = Weight("decay.weight", (x.width,))
    return g.append(DecayingSum(Value(name, x.width), x, weight, g.state(f"{name}.state", spec)))


def core_recurrent_tensors(vocabulary: int = VOCABULARY) -> dict[str, TensorInfo]:
    """Returns an embedding and the weights of `core_recurrent_graph`."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "conv.weight": (WIDTH, 4),
        "conv.bias": (WIDTH,),
        "a.of heads": (HEADS, 1),
        "a.of states": (WIDTH, 5),
        "d.of heads": (HEADS, 1),
        "output.weight": (vocabulary, WIDTH),
    }
    shapes |= {f"{name}.weight": (WIDTH, WIDTH) for name in "qkv"}
    shapes |= {f"{name}.weight": (HEADS, WIDTH) for name in ("decay", "beta")}
    tensors = random_tensors(shapes)
    for name in ("a.of heads", "a.of states"):
        values = -np.exp(tensors[name].to_float32() / 3) / 5
        tensors[name] = tensors[name].changed(data=values.view(np.uint8).reshape(-1))
    return tensors


def core_recurrent_graph(tensors: Mapping[str, TensorInfo], *, attention: bool = False) -> Graph:
    """Returns a graph of core's operations with recurrent states, each in the ways that models use it.

    `attention`: there is a KV cache, too.
    """
    g = GraphBuilder(tensors)
    x = g.short_conv(g.embedding("token_embd", WIDTH), "conv", state="conv")
    q, k, v = (g.linear(x, name, WIDTH) for name in "qkv")
    if attention:
        y = g.attention(q, k, v, state="kv", heads=HEADS, kv_heads=HEADS, head_dim=HEAD, name="attention")
        x = g.add(x, y, name="attention sum")
    few = g.scale(g.columns(k, 0, WIDTH // 2, name="k of few"), 0.25, name="keys")
    asked = g.columns(q, 0, WIDTH // 2, name="queries")
    beta = g.soft_cap(g.linear(x, "beta", HEADS), 1.0, name="share")
    beta = g.multiply(beta, beta, name="share squared")
    low = g.linear(x, "decay", HEADS)
    decay = g.scale(g.multiply(low, low, name="decay squared"), -0.5, name="log decay")
    for order in get_args(HeadOrder):
        delta = g.gated_delta(
            *(asked, few, v, decay, beta),
            state=order,
            heads=HEADS,
            key_heads=HEADS // 2,
            scale=0.4,
            name=f"{order} delta",
            order=order,
        )
        x = g.add(x, delta, name=f"{order} sum")
    x = g.scale(x, 1 / 20, name="small")
    heads = g.selective_scan(
        x, beta, q, k, a="a.of heads", d="d.of heads", state="mamba 2", heads=HEADS, groups=2, name="of heads"
    )
    b, c = (g.columns(each, 3, 5, name=f"{each.name} of 5") for each in (q, k))
    steps = g.scale(g.multiply(v, v, name="v squared"), 0.2, name="steps")
    states = g.selective_scan(
        heads, steps, b, c, a="a.of states", state="mamba 1", heads=WIDTH, name="of states"
    )
    wanted = g.select(g.add(heads, states, name="scans"))
    g.output("hidden", wanted)
    g.output("logits", g.linear(wanted, "output", g.shape("output.weight")[0], name="logits"))
    return g.finish()


def recurrent_tensors() -> dict[str, TensorInfo]:
    """Returns an embedding with a deviation of about 30, decays and an output matrix."""
    shapes = {"token_embd.weight": (VOCABULARY, WIDTH), "decay.weight": (WIDTH,)}
    tensors = random_tensors({**shapes, "output.weight": (VOCABULARY, WIDTH)})
    changed = {
        "token_embd.weight": tensors["token_embd.weight"].to_float32() * 30 * WIDTH**0.5,
        "decay.weight": 1 / (1 + np.exp(-tensors["decay.weight"].to_float32())),
    }
    for name, values in changed.items():
        data = np.ascontiguousarray(values, np.float32).view(np.uint8).reshape(-1)
        tensors[name] = tensors[name].changed(data=data)
    return tensors


def recurrent_graph(tensors: Mapping[str, TensorInfo], *, attention: bool = False) -> Graph:
    """Returns a graph with the output `hidden` of a recurrent state; `attention`: after a KV cache."""
    g = GraphBuilder(tensors)
    x = g.embedding("token_embd", WIDTH)
    if attention:
        x = g.scale(x, 1 / 30, name="scaled")
        x = g.attention(x, x, x, state="kv", heads=4, kv_heads=4, head_dim=8, name="attention")
    x = decaying_sum(g, x, "memory")
    wanted = g.select(x)
    g.output("hidden", wanted)
    if attention:
        g.output("logits", g.linear(wanted, "output", VOCABULARY, name="logits"))
    return g.finish()


def suite_graphs() -> Iterator[GraphCase]:
    """Yields graphs of core's operations, and one with a recurrent state."""
    model = toy_decoder(bias=True, qk_norm=True, head_dim=24, value_dim=40, attention__sliding_window=9)
    graph = decoder(model, context=128, pairing="adjacent", window=9, qk_norm=True)
    yield GraphCase("decoder", graph, model.tensors, _tokens(512))
    tensors = _every_tensor()
    yield GraphCase("every operation", every_operation(tensors), tensors, _tokens(VOCABULARY))
    tensors = experts_tensors(biases=True)
    graph = experts_graph(tensors, ROUTES["sigmoid, selection bias"], {"activation": "gelu"})
    yield GraphCase("experts", graph, tensors, _tokens(EXPERTS_VOCABULARY))
    yield GraphCase(
        "encoder", two_layers(windows=(None, 4), stateless=True), state_tensors(), _tokens(STATE_VOCABULARY)
    )
    yield GraphCase("pooled", pooling("mean"), POOLED_TENSORS, _tokens(POOLED_VOCABULARY))
    yield GraphCase("shared state", two_layers(shared=True), state_tensors(), _tokens(STATE_VOCABULARY))
    yield GraphCase("columns and heads", columns_graph(), COLUMNS_TENSORS, _tokens(COLUMNS_VOCABULARY))
    yield GraphCase("streams", streams_graph(), STREAMS_TENSORS, _tokens(STREAMS_VOCABULARY))
    tensors = recurrent_tensors()
    graph = recurrent_graph(tensors, attention=True)
    yield GraphCase("recurrent state", graph, tensors, _tokens(VOCABULARY))

    tensors = core_recurrent_tensors()
    graph = core_recurrent_graph(tensors)
    yield GraphCase("recurrent states of core", graph, tensors, _tokens(VOCABULARY))


def every_operation(tensors: Mapping[str, TensorInfo]) -> Graph:
    """Returns a graph with each operation of `zigai_core.ops.operations`.

    Epsilons are large, so that they count.
    """
    g = GraphBuilder(tensors)
    x = g.layer_norm(g.embedding("token_embd", WIDTH), "token_embd_norm", 0.5)
    fused = g.linear(x, "attn_qkv", 3 * WIDTH)
    q, k, v = (g.columns(fused, place * WIDTH, WIDTH, name=f"attn_{'qkv'[place]}") for place in range(3))
    q = g.rms_norm(q, "attn_q_norm", 0.25, group=HEAD)
    q = g.rope(q, HEAD, FREQUENCIES, "adjacent", name="q_rope", magnitude=1.1)
    k = g.rope(k, HEAD, FREQUENCIES, "half", name="k_rope")
    sizes = {"heads": HEADS, "kv_heads": HEADS, "head_dim": HEAD}
    full = g.attention(q, k, v, state="full", name="full", sinks="attn_sinks", soft_cap=3.0, **sizes)  # type: ignore[arg-type]
    k, v = g.columns(k, 0, WIDTH // 2, name="k_half"), g.columns(v, 0, WIDTH // 2, name="v_half")
    sizes["kv_heads"] = HEADS // 2
    near = g.attention(q, k, v, state="near", name="near", window=6, slopes=alibi_slopes(HEADS), **sizes)  # type: ignore[arg-type]
    part = g.attention(q, k, v, state="part", name="part", chunk=7, **sizes)  # type: ignore[arg-type]
    x = g.add(x, g.multiply(g.add(full, near, name="both"), part, name="product"), name="residual")
    x = g.select(x, name="wanted_rows")
    gate, up = g.linear(x, "ffn_gate", HIDDEN), g.linear(x, "ffn_up", HIDDEN)
    act = g.gated_activation(gate, up, name="ffn_act", activation="gelu_tanh", limit=1.5, up_offset=0.5)
    y = g.sigmoid_gate(x, g.linear(act, "ffn_down", WIDTH), "ffn_gate_inp_shexp")
    scores = g.linear(x, "ffn_gate_inp", EXPERTS)
    shares = g.route(scores, used=2, name="shares", renormalise=True, scale=1.5)
    routed = g.experts(x, shares, "blk.0", used=2, hidden=HIDDEN)
    x = g.rms_norm(g.add(y, routed, name="ffn_residual"), "output_norm", 0.25)
    g.output("hidden", x)
    logits = g.scale(g.linear(x, "token_embd", VOCABULARY, name="plain"), 0.7, name="scaled_logits")
    g.output("logits", g.soft_cap(logits, 5.0, name="logits"))
    return g.finish()


def _every_tensor() -> dict[str, TensorInfo]:
    matrices = {
        "token_embd": (VOCABULARY, WIDTH),
        "attn_qkv": (3 * WIDTH, WIDTH),
        "ffn_gate": (HIDDEN, WIDTH),
        "ffn_up": (HIDDEN, WIDTH),
        "ffn_down": (WIDTH, HIDDEN),
        "ffn_gate_inp": (EXPERTS, WIDTH),
        "blk.0.ffn_gate_exps": (EXPERTS, HIDDEN, WIDTH),
        "blk.0.ffn_up_exps": (EXPERTS, HIDDEN, WIDTH),
        "blk.0.ffn_down_exps": (EXPERTS, WIDTH, HIDDEN),
    }
    vectors = {
        "token_embd_norm": WIDTH,
        "attn_q_norm": HEAD,
        "attn_sinks": HEADS,
        "ffn_gate_inp_shexp": WIDTH,
        "output_norm": WIDTH,
    }
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in matrices.items()}
    shapes |= {f"{name}.weight": (size,) for name, size in vectors.items()}
    biases: dict[str, tuple[int, ...]] = {
        "token_embd_norm.bias": (WIDTH,),
        "attn_qkv.bias": (3 * WIDTH,),
        "ffn_down.bias": (WIDTH,),
        "blk.0.ffn_up_exps.bias": (EXPERTS, HIDDEN),
        "blk.0.ffn_gate_exps.bias": (EXPERTS, HIDDEN),
        "blk.0.ffn_down_exps.bias": (EXPERTS, WIDTH),
    }
    return random_tensors(shapes | biases)


def _tokens(vocabulary: int) -> list[int]:
    return [int(token) for token in np.random.RandomState(8).randint(0, vocabulary, 37)]
