"""Embeddings in place of tokens: rows without a token read no table, and cost nothing elsewhere."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Graph, Value, Weight
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Backend, Program
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request
from zigai_core.engine.sampling import Sampler
from zigai_core.ops.blocks import decoder
from zigai_core.ops.operations import Add, Embedding, Inputs, Linear, Scale
from zigai_core.testing.toys import random_tensors, toy_decoder
from zigai_kernels import NativeBackend
from zigai_kernels.lowering import lower
from zigai_kernels.records import in_place

X, Y = Value("x", 8), Value("y", 8)
TABLE = Weight("table", (5, 8))


def given(rows: int, width: int, seed: int = 7) -> Any:
    return np.random.RandomState(seed).standard_normal((rows, width)).astype(np.float32)


def with_embeddings(batch: Any, rows: Any) -> Any:
    return dataclasses.replace(batch, embeddings=rows)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "Q4_0", "Q6_K", "IQ2_XXS", "NVFP4"])
def test_rows_without_a_token_are_the_embeddings_and_others_those_of_the_table(
    tools: Any, backend: Backend, dtype: str, shared: bool
) -> None:
    """`shared`: something else reads what is replaced, so that it must stay as it was."""
    sketch = tools.sketch()
    x = sketch.add(Embedding(Value("x", 256), sketch.random("table", (9, 256), dtype)))
    y = sketch.add(Inputs(Value("y", 256), x))
    if shared:
        other = sketch.add(Scale(Value("other", 256), x, 2.0))
        sketch.add(Add(Value("sum", 256), y, other))
    table = sketch.tensors["table"].to_float32() * (3 if shared else 1)
    many = np.array(([0, -1, 8, -1, -1] * 8)[:39], np.int32)
    for tokens in ([3, -1, 8], [-1], [-1, -1], [0, 1, 2], many):
        tokens = np.array(tokens, np.int32)
        rows = given(int((tokens == -1).sum()), 256)
        batch = with_embeddings(dataclasses.replace(tools.batch(range(len(tokens))), tokens=tokens), rows)
        expected = table[tokens]
        expected[tokens == -1] = rows
        found = tools.compare(backend, sketch, batch)["logits"]
        np.testing.assert_array_equal(found, expected)
    plain = tools.batch(range(9))
    np.testing.assert_array_equal(tools.compare(backend, sketch, plain)["logits"], table[range(9)])


def test_a_row_without_a_token_reads_no_table(tools: Any, backend: Backend) -> None:
    """Zeros come out of a table whose rows are replaced nowhere."""
    sketch = tools.sketch()
    y = sketch.add(Inputs(Value("y", 32), sketch.input("x", given(4, 32))))
    z = sketch.add(Embedding(Value("z", 32), sketch.random("other", (4, 32), "Q4_0")))
    sketch.add(Add(Value("sum", 32), y, z))
    batch = dataclasses.replace(tools.batch(range(3)), tokens=np.array([-1, 2, -1], np.int32))
    rows = given(2, 32)
    found = tools.compare(backend, sketch, with_embeddings(batch, rows))["logits"]
    np.testing.assert_array_equal(found[[0, 2]], rows)


def test_embeddings_are_copied_row_by_row_in_any_memory_order(tools: Any, backend: Backend) -> None:
    sketch = tools.sketch()
    sketch.add(Inputs(Value("y", 8), sketch.input("x", given(4, 8))))
    batch = dataclasses.replace(tools.batch(range(3)), tokens=np.array([-1, 2, -1], np.int32))
    rows = np.asfortranarray(given(2, 8))
    found = tools.compare(backend, sketch, with_embeddings(batch, rows))["logits"]
    np.testing.assert_array_equal(found[[0, 2]], rows)


def records_of(*operations: Any) -> Any:
    last = operations[-1].output
    graph = Graph((*operations, Linear(Value("o", 5), last, TABLE)), {})
    return lower(graph, random_tensors({"table": (5, 8)})).records


def test_what_nothing_else_reads_is_replaced_in_its_own_memory() -> None:
    embed, inputs, scale = Embedding(X, TABLE), Inputs(Y, X), Scale(Value("z", 8), Y, 2.0)
    assert in_place(records_of(embed, inputs, scale)) == {"y": "x"}
    other = Add(Value("w", 8), X, Y)
    assert in_place(records_of(embed, inputs, other)) == {}
    again = Inputs(Value("again", 8), Y)
    assert in_place(records_of(embed, inputs, again)) == {"y": "x", "again": "y"}


def program(threads: int = 2, *, batch: int = 16) -> tuple[Program, Any]:
    model = toy_decoder()
    graph = decoder(model, context=64, pairing="adjacent", inputs=True)
    options = CompileOptions(context=64, batch=batch, page=8, threads=threads)
    table = model.tensors["token_embd.weight"].to_float32()
    return NativeBackend().compile(graph, model.tensors, options), table


def test_a_decoders_embedding_and_its_inputs_share_memory() -> None:
    native: Any = program()[0]
    array = dict(zip([record.output for record in native.lowered.records], native.records, strict=True))
    assert array["inputs"].output == array["inputs"].x == array["token_embd"].output
    stage = next(stage for stage in native.lowered.stages if stage.records[0].output == "token_embd")
    assert "inputs" in [record.output for record in stage.records]  # without a barrier between them


@pytest.mark.parametrize("batch", [1, 5, 16])
def test_a_prompt_of_rows_of_the_table_equals_its_tokens(batch: int) -> None:
    """Alone, in every chunking, beside others, and after it was preempted; with its reply."""
    of, table = program(batch=batch)
    tokens = np.random.RandomState(2).randint(0, len(table), 21).tolist()
    replaced = [-1 if place % 4 in (1, 2) else token for place, token in enumerate(tokens)]
    rows = table[[token for token, other in zip(tokens, replaced, strict=True) if other == -1]]

    def request(prompt: list[int], embeddings: Any = None) -> Request:
        sampler = Sampler(SamplingOptions(temperature=1.0, seed=5))
        return Request(
            prompt,
            max_tokens=20,
            sampler=sampler,
            embeddings=embeddings,
            outputs="logits",
            rows="all",
            cache=False,
        )

    def result(stream: Any) -> tuple[Any, list[int]]:
        return stream.outputs, stream.result().tokens

    with Engine(of) as engine:
        outputs, reply = result(engine.submit(request(tokens)))
        alone = result(engine.submit(request(replaced, rows)))
    with Engine(of, budget=Budget(tokens=64)) as engine:
        streams = [engine.submit(request(replaced, rows)) for _ in range(2)]
        beside = engine.submit(request(tokens[::-1]))
        found = [alone, *(result(stream) for stream in streams)]
        beside.result()
        assert engine.stats().preemptions > 0 or batch == 1
    assert len(set(reply)) > 3
    for own_outputs, own_reply in found:
        np.testing.assert_array_equal(own_outputs, outputs)
        assert list(own_reply) == list(reply)


def test_embeddings_that_do_not_fit_do_not_reach_c(tools: Any) -> None:
    sketch = tools.sketch()
    sketch.add(Inputs(Y, sketch.add(Embedding(X, sketch.random("table", (5, 8), "F32")))))
    bench = sketch.bench(NativeBackend())
    batch = dataclasses.replace(tools.batch(range(3)), tokens=np.array([-1, 2, -1], np.int32))
    rows: list[Any] = [given(1, 8), given(3, 8), given(2, 7), given(2, 8)[0], given(2, 8).tolist()]
    for wrong in (*rows, given(2, 8).astype(np.float64)):
        with pytest.raises(ShapeError, match=r"embeddings must be float32 \(2, 8\), a row for each token -1"):
            bench.run(with_embeddings(batch, wrong))
    with pytest.raises(ShapeError, match=r"token id -1 is outside 0\.\.4"):
        bench.run(batch)
    for token in (5, -2, -(2**31), 2**31 - 1):
        wrong = dataclasses.replace(batch, tokens=np.array([-1, token, -1], np.int32))
        with pytest.raises(ShapeError, match=rf"token id {token} is outside 0\.\.4"):
            bench.run(with_embeddings(wrong, given(2, 8)))
    other = tools.sketch()
    other.input("x", given(4, 8))
    with pytest.raises(ShapeError, match="it has embeddings, but the graph takes none"):
        other.bench(NativeBackend()).run(with_embeddings(batch, given(2, 8)))
