"""Every value of a graph as an output, and outputs a few rows at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from zigai_core.api.loading import assemble
from zigai_core.api.output_rows import OutputRows
from zigai_core.api.registry import Plugins
from zigai_core.api.trace import Trace
from zigai_core.contracts.errors import ContextOverflowError, PluginError
from zigai_core.contracts.load_options import LoadOptions
from zigai_core.contracts.options import CompileOptions
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.ops.traced import traced
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

MODEL = replace(toy_decoder("toy", layers=2, context=96, vocabulary=300), architecture="toy")
TOKENS = [int(token) for token in np.random.default_rng(0).integers(3, 300, 80)]


@pytest.fixture
def plugins() -> Plugins:
    return Plugins(
        architectures={"toy": lambda model, context: decoder(model, context=context, pairing="adjacent")},
        backends={"numpy": NumpyBackend},
        tokenizers={MODEL.tokenizer.kind: ByteTokenizer} if MODEL.tokenizer else {},
    )


def test_a_traced_graph_computes_the_same_logits_and_returns_every_value(plugins: Plugins) -> None:
    trace = Trace(MODEL, LoadOptions(), plugins=plugins)
    steps = list(trace.values(TOKENS))
    assert [len(step["logits"]) for step in steps] == [32, 32, 16]
    values = {name: np.concatenate([step[name] for step in steps]) for name in trace.widths}
    assert [operation.output.name for operation in trace.graph] == list(values)
    for name, width in trace.widths.items():
        assert values[name].shape == (len(TOKENS), width)
    expected = assemble(MODEL, plugins=plugins).logits(TOKENS)
    np.testing.assert_allclose(values["logits"], expected, rtol=1e-4, atol=1e-4)
    table = MODEL.tensors["token_embd.weight"].to_float32()
    np.testing.assert_array_equal(values["token_embd"], table[TOKENS])


def test_each_value_has_the_wanted_rows_alone(plugins: Plugins) -> None:
    graph = traced(decoder(MODEL, context=96, pairing="adjacent"))
    program = NumpyBackend().compile(graph, MODEL.tensors, CompileOptions(context=96, batch=96))
    runner = DirectRunner(program)
    (last,) = runner.run([Part(runner.new_sequence(), TOKENS)])
    trace = Trace(MODEL, LoadOptions(), plugins=plugins)
    *_, step = trace.values(TOKENS)
    assert list(last) == list(step)
    for name, rows in last.items():
        assert len(rows) == 1, name
        np.testing.assert_allclose(rows[0], step[name][-1], rtol=1e-3, atol=1e-3, err_msg=name)


def test_a_graph_with_two_values_of_one_name_is_refused() -> None:
    graph = decoder(MODEL, context=16, pairing="adjacent")
    with pytest.raises(PluginError, match="two operations of the graph compute a value named token_embd"):
        traced(replace(graph, operations=(graph.operations[0], *graph.operations)))


def test_rows_begin_where_they_are_wanted_and_sequences_are_apart(plugins: Plugins) -> None:
    model = assemble(MODEL, plugins=plugins)
    rows = OutputRows(model.program, 7)
    whole = np.concatenate([step["logits"] for step in rows.of(TOKENS)])
    part = [step["logits"] for step in rows.of(TOKENS, 60)]
    assert [len(step) for step in part] == [7, 7, 6]
    np.testing.assert_allclose(np.concatenate(part), whole[60:], rtol=1e-4, atol=1e-4)
    with pytest.raises(ContextOverflowError, match="97 tokens do not fit into a context of 96"):
        next(rows.of([5] * 97))
