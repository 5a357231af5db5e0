"""Mutations of graphs, the evaluation of them, and what an oracle's strength says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from zigai_core.contracts.graph import TOKENS, Array, Graph, Operation, Step, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.state import KVCache, Recurrent, State
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.blocks import decoder, experts
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Attention, RMSNorm
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.graphs import GraphCase, suite_graphs
from zigai_core.testing.oracles import MutationScore, Oracle
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.mutants import mutants
from zigai_core.testing.toys import random_tensors

ORACLES = Path(__file__).parent / "data" / "oracles"
NAMES = ("head-norms", "window", "experts")


def oracle_of(name: str) -> tuple[Oracle, Graph]:
    oracle = Oracle.load(ORACLES / f"{name}.npz")
    hp = oracle.model.hyperparameters
    graph = decoder(
        oracle.model,
        context=128,
        window=hp.get("attention.sliding_window"),
        qk_norm=name == "head-norms",
        feed_forward=experts(hp, renormalise=True) if name == "experts" else None,
    )
    return oracle, graph


def names_of(graph: Graph) -> list[str]:
    return [mutant.name for mutant in mutants(graph)]


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluation_gives_the_numpy_backends_outputs(name: str) -> None:
    oracle, graph = oracle_of(name)
    program = NumpyBackend().compile(graph, oracle.model.tensors, CompileOptions(context=64, batch=64))
    runner = DirectRunner(program)
    expected = runner.run([Part(runner.new_sequence(), oracle.tokens, want_all=True)])[0]
    found = Evaluation(graph, float_weights(graph, oracle.model.tensors), oracle.tokens).outputs()
    assert {*found} == {*expected} == {"logits", "hidden"}
    for output, rows in expected.items():
        np.testing.assert_allclose(found[output], rows, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_graph_is_evaluated_as_if_it_were_the_only_one(name: str) -> None:
    oracle, graph = oracle_of(name)
    weights = float_weights(graph, oracle.model.tensors)
    own = Evaluation(graph, weights, oracle.tokens)
    before = {key: values.copy() for key, values in own.values.items()}
    compared = 0
    for mutant in list(mutants(graph))[::5]:
        try:
            alone = Evaluation(replace(graph, operations=mutant.operations), weights, oracle.tokens)
        except ValueError:  # shapes that do not fit
            continue
        found = own.outputs(own.changed(mutant.operations))
        for output, rows in alone.outputs().items():
            np.testing.assert_array_equal(found[output], rows, err_msg=mutant.name)
        compared += 1
    assert compared > 20
    for key, values in before.items():
        np.testing.assert_array_equal(own.values[key], values)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("window", "blk.0.attn_norm: is token_embd, without RMSNorm"),
        ("window", "blk.0.attn_norm: epsilon is 0.1, not 0.01"),
        ("window", "blk.0.attn_norm: LayerNorm, not RMSNorm"),
        ("window", "blk.0.attn_q_rope: pairing is adjacent"),
        ("window", "blk.0.attn_q_rope: frequencies of another base"),
        ("window", "blk.0.attention: rope of queries and keys, frequencies reversed"),
        ("window", "blk.0.attention: window is 8, not 7"),
        ("window", "blk.0.attention: window left out"),
        ("window", "blk.0.attention: state left out"),
        ("window", "blk.0.attention: query heads of other KV heads"),
        ("window", "blk.0.attention: scale is 1, not 0.353553"),
        ("window", "blk.0.attn_residual: a is blk.0.attn_norm, not token_embd"),
        ("window", "blk.0.ffn_norm: x is token_embd, not blk.0.attn_residual"),
        ("window", "blk.0.ffn_act: gate and up exchanged"),
        ("window", "blk.0.ffn_act: activation is gelu_tanh"),
        ("window", "blk.0.ffn_gate: by blk.0.ffn_up.weight"),
        ("window", "logits: by token_embd.weight"),
        ("head-norms", "blk.0.attn_q: bias left out"),
        ("head-norms", "blk.0.attn_q_norm: RMSNorm of the whole row"),
        ("head-norms", "blk.0.attn_q_rope: Rope before RMSNorm"),
        ("experts", "blk.0.ffn_shares: renormalise is False"),
        ("experts", "blk.0.ffn_shares: kind is sigmoid"),
        ("experts", "blk.0.ffn_experts: used is 1, not 2"),
        ("experts", "blk.0.ffn_experts: gate and up exchanged"),
    ],
)
def test_faults_that_authors_make_are_among_the_mutations(name: str, expected: str) -> None:
    assert expected in names_of(oracle_of(name)[1])


@pytest.mark.parametrize("name", NAMES)
def test_mutants_have_names_of_their_own(name: str) -> None:
    names = names_of(oracle_of(name)[1])
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize("name", NAMES)
def test_an_oracle_of_full_strength_notices_every_mutation(name: str) -> None:
    found = MutationScore.of(*oracle_of(name))
    assert found.survived == ()
    assert len(found.killed) > 100
    assert str(found) == f"kills {len(found.killed)} of {found.total} mutants"


def test_another_way_to_write_the_same_model_is_no_mutation_of_it() -> None:
    found = MutationScore.of(*oracle_of("window"))
    assert "blk.0.attn_residual: a and b exchanged" in found.equivalent  # a + b = b + a
    assert "blk.0.attention: rope of queries and keys, magnitude is -1, not 1" in found.equivalent


def test_a_window_longer_than_the_text_survives() -> None:
    oracle, graph = oracle_of("window")
    long = tuple(
        replace(each, window=60) if isinstance(each, Attention) else each for each in graph.operations
    )
    graph = replace(graph, operations=long)
    outputs = Evaluation(graph, float_weights(graph, oracle.model.tensors), oracle.tokens).outputs()
    weak = replace(oracle, outputs={"logits": outputs["logits"]})
    assert {name.split(": ")[1] for name in MutationScore.of(weak, graph).survived} == {
        "window left out",
        "window is 61, not 60",
        "window is 59, not 60",
        "window is 120, not 60",
    }


def test_a_small_epsilon_survives() -> None:
    oracle, graph = oracle_of("window")
    small = tuple(
        replace(each, epsilon=1e-9) if isinstance(each, RMSNorm) else each for each in graph.operations
    )
    graph = replace(graph, operations=small)
    outputs = Evaluation(graph, float_weights(graph, oracle.model.tensors), oracle.tokens).outputs()
    score = MutationScore.of(replace(oracle, outputs=dict(outputs)), graph)
    # Ten times and a tenth of the epsilon of five norms.
    assert sum("epsilon is" in name for name in score.survived) == 10


@dataclass(frozen=True, eq=False)
class Decayed(Operation):
    """state = decay · state + x: an operation of a plugin."""

    x: Value
    state: State
    decay: float
    kind: Literal["sum", "mean"] = "sum"
    reset: bool = False

    def evaluate(self, step: Step) -> Array:
        x, memory = step[self.x], step.recurrent(self.state)
        out = np.empty_like(x)
        total = memory.read(0)["total"]
        for row in range(len(x)):
            total = self.decay * total + x[row] if not self.reset else x[row]
            memory.write(row, {"total": total})
            out[row] = total / (row + 1 if self.kind == "mean" else 1)
        return out


def test_an_operation_of_a_plugin_is_mutated_by_the_types_of_its_fields() -> None:
    tensors = random_tensors({"token_embd.weight": (20, 8)})
    g = GraphBuilder(tensors)
    x = g.embedding("token_embd", 8)
    state = g.state("memory", Recurrent({"total": ((8,), "float32")}))
    y = g.append(Decayed(Value("decayed", 8, TOKENS), x, state, 0.5))
    g.output("logits", g.linear(g.select(y), "token_embd", 20, name="logits"))
    graph = g.finish()
    found = [name for name in names_of(graph) if name.startswith("decayed")]
    assert found == [
        "decayed: is token_embd, without Decayed",
        "decayed: decay is 0.55, not 0.5",
        "decayed: decay is 1, not 0.5",
        "decayed: decay is -0.5, not 0.5",
        "decayed: kind is mean",
        "decayed: reset is True",
    ]
    tokens = tuple(range(12))
    outputs = Evaluation(graph, float_weights(graph, tensors), tokens).outputs()
    model = replace(Oracle.load(ORACLES / "window.npz").model, tensors=tensors)
    assert MutationScore.of(Oracle(model, tokens, outputs), graph).survived == ()


def test_layers_that_share_a_cache_are_evaluated_with_what_the_first_one_wrote() -> None:
    names = ("q", "k", "v", "q2")
    tensors = random_tensors({"token_embd.weight": (20, 8), **{f"{name}.weight": (8, 8) for name in names}})
    g = GraphBuilder(tensors)
    x = g.embedding("token_embd", 8)
    cache = g.state("shared", KVCache(2, 4, 4))
    sizes: Mapping[str, int] = {"heads": 2, "kv_heads": 2, "head_dim": 4}
    q, k, v = (g.linear(x, name, 8) for name in ("q", "k", "v"))
    y = g.add(x, g.attention(q, k, v, state=cache, name="first", **sizes), name="sum")
    z = g.attention(g.linear(y, "q2", 8), None, None, state=cache, name="second", **sizes)
    g.output("hidden", g.select(z))
    graph = g.finish()
    weights = float_weights(graph, tensors)
    own = Evaluation(graph, weights, range(10))
    changed = tuple(
        replace(each, scale=1.0) if each.output.name == "second" else each for each in graph.operations
    )
    alone = Evaluation(replace(graph, operations=changed), weights, range(10))
    np.testing.assert_array_equal(own.outputs(own.changed(changed))["hidden"], alone.outputs()["hidden"])


def test_a_window_longer_than_every_text_that_is_tried_survives() -> None:
    oracle, graph = oracle_of("window")
    long = tuple(
        replace(each, window=4096, state=replace(each.state, spec=replace(each.state.spec, window=4096)))
        if isinstance(each, Attention) and each.state is not None
        else each
        for each in graph.operations
    )
    graph = replace(graph, operations=long)
    outputs = Evaluation(graph, float_weights(graph, oracle.model.tensors), oracle.tokens).outputs()
    survived = MutationScore.of(replace(oracle, outputs=dict(outputs)), graph).survived
    assert sum("window" in name for name in survived) == 8


@pytest.mark.parametrize("case", list(suite_graphs()), ids=lambda case: case.name)
def test_every_graph_of_the_backends_suite_has_a_score(case: GraphCase) -> None:
    tokens = tuple(case.tokens)
    outputs = Evaluation(case.graph, float_weights(case.graph, case.tensors), tokens).outputs()
    model = replace(Oracle.load(ORACLES / "window.npz").model, tensors=dict(case.tensors))
    score = MutationScore.of(Oracle(model, tokens, dict(outputs)), case.graph)
    assert len(score.killed) > 10


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_graph_that_takes_embeddings_must_not_ignore_them_or_take_them_elsewhere(elsewhere: bool) -> None:
    """`elsewhere`: tokens have another table, too, so that rows in their place tell nothing."""
    tensors = random_tensors({"token_embd.weight": (20, 8), "other.weight": (20, 8)})
    g = GraphBuilder(tensors)
    x = g.inputs(g.scale(g.embedding("token_embd", 8), 3.0, name="scaled"))
    if elsewhere:
        x = g.add(x, g.embedding("other", 8), name="both")
    g.output("hidden", g.select(x))
    graph = g.finish()
    tokens = tuple(range(1, 15))
    own = Evaluation(graph, float_weights(graph, tensors), tokens)
    model = replace(Oracle.load(ORACLES / "window.npz").model, tensors=tensors)
    score = MutationScore.of(Oracle(model, tokens, dict(own.outputs())), graph)
    of_inputs = {
        "inputs: is scaled, without Inputs",
        "inputs: embeddings in the reverse order",
        "inputs: Inputs before Scale",
    }
    assert of_inputs <= {*(score.equivalent if elsewhere else score.killed)}
    given = own.with_embeddings()
    assert (given is None) == elsewhere
    if given is not None:
        np.testing.assert_array_equal(given.outputs()["hidden"], own.outputs()["hidden"])
        assert given.with_embeddings() is None
