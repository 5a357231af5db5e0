from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.contracts.graph import WANTED, Array, Graph, Operation, Step, Value, Weight
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.state import KVCache, Recurrent, State
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.blocks import decoder
from zigai_core.ops.operations import (
    Add,
    Attention,
    Columns,
    Embedding,
    GatedActivation,
    Linear,
    RMSNorm,
    Rope,
    Scale,
    Select,
)
from zigai_core.testing.toys import random_tensor, toy_decoder
from zigai_kernels import NativeBackend
from zigai_kernels.lowering import lower


@dataclass(frozen=True, eq=False)
class Sorted(Operation):
    x: Value

    def evaluate(self, step: Step) -> Array:
        return np.sort(step[self.x])


@dataclass(frozen=True, eq=False)
class LoudLinear(Linear):
    """A subclass of a supported operation, which may compute something else."""


def test_every_missing_kernel_is_listed_once(tools: Any) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", np.ones((3, 256)))
    for i in range(2):
        tensor = TensorInfo("w", (256, 256), DType("Q3_MINE", 1, 1, None), np.zeros(256 * 256, np.uint8))
        weight = sketch.stored(f"q3.{i}", tensor)
        x = sketch.add(Linear(Value(f"y{i}", 256), x, weight))
    x = sketch.add(Sorted(Value("sorted", 256), x))
    x = sketch.add(Sorted(Value("sorted again", 256), x))
    x = sketch.add(LoudLinear(Value("loud", 256), x, sketch.random("w", (256, 256), "F32")))
    tanh: Any = "tanh"
    sketch.add(GatedActivation(Value("gated", 256), x, x, tanh))
    graph = sketch.graph()
    backend = NativeBackend()
    missing = backend.missing(graph, sketch.tensors)
    assert list(missing) == [
        "Linear with Q3_MINE weights (q3.0)",
        "operation Sorted (sorted)",
        "operation LoudLinear (loud)",
        "GatedActivation with activation 'tanh'",
    ]
    with pytest.raises(UnsupportedError) as caught:
        backend.compile(graph, sketch.tensors, CompileOptions())
    for line in missing:
        assert line in str(caught.value)
    assert "backend='numpy'" in str(caught.value)


@dataclass(frozen=True, eq=False)
class Scan(Operation):
    x: Value
    state: State

    def evaluate(self, step: Step) -> Array:
        return step[self.x]


def test_an_operation_with_a_recurrent_state_is_missing_by_name(tools: Any) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", np.ones((1, 8)))
    sketch.add(Scan(Value("scanned", 8), x, State("s", Recurrent({"sum": ((8,), "float32")}))))
    assert NativeBackend().missing(sketch.graph(), sketch.tensors) == ["operation Scan (scanned)"]


def test_a_type_with_the_name_but_not_the_layout_of_a_supported_one_is_missing(tools: Any) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", np.ones((1, 32)))
    odd = DType("Q4_0", 32, 20, DTYPES["Q4_1"].dequantize)
    tensor = TensorInfo("w", (1, 32), odd, np.zeros(20, np.uint8))
    sketch.add(Linear(Value("y", 1), x, sketch.stored("w", tensor)))
    assert NativeBackend().missing(sketch.graph(), sketch.tensors) == ["Linear with Q4_0 weights (w)"]


def graph_of(*operations: Operation) -> Graph:
    last = operations[-1].output
    select = Select(Value("wanted", last.width, WANTED), last)
    return Graph((*operations, select), {"logits": select.output})


X, Y = Value("x", 8), Value("y", 8)
TABLE = Weight("table", (5, 8))
EMBED = Embedding(X, TABLE)
FREQUENCIES = np.ones(2, np.float32)
WRONG_SECTIONS: Any = np.zeros(2)


def attention(output: Value = Y, query: Value = X, **attributes: Any) -> Attention:
    how: dict[str, Any] = {"heads": 2, "kv_heads": 2, "key_dim": 4, "value_dim": 4, "scale": 1.0}
    how = {"key": X, "value": X} | how | attributes
    if "state" not in how:
        kept = how.get("window") or how.get("chunk")
        how["state"] = State("s", KVCache(how["kv_heads"], how["key_dim"], how["value_dim"], kept))
    return Attention(output, query, **how)


WRONG = [
    ((Add(Y, X, X),), "input x has not been computed"),
    ((EMBED, Embedding(X, TABLE)), "computed before"),
    ((EMBED, Add(Value("y", 9), X, X)), r"inputs \[8, 8\] and output 9"),
    ((EMBED, Linear(Y, X, Weight("absent", (8, 8)))), "tensor absent is missing"),
    ((EMBED, Linear(Y, X, Weight("table", (8, 8)))), r"table has shape \(5, 8\), but \(8, 8\) is needed"),
    ((EMBED, Linear(Value("y", 5), Value("x", 8), Weight("table", (5, 9)))), r"\(5, 8\) is needed"),
    ((EMBED, Rope(Y, X, 3, FREQUENCIES, "half")), "do not fit heads of 3"),
    ((EMBED, Rope(Y, X, 6, FREQUENCIES, "half")), "a width of 8 is not a multiple of the head width 6"),
    ((EMBED, attention(heads=3)), "cannot share 2 KV heads"),
    ((EMBED, attention(heads=4, key_dim=2, value_dim=2)), "its key x is 8 wide, not 2 heads of 2"),
    ((EMBED, attention(value_dim=3)), "its value x is 8 wide, not 2 heads of 3"),
    ((EMBED, attention(Value("y", 9))), "its output y is 9 wide, not 2 heads of 4"),
    ((EMBED, attention(heads=0)), "its heads is 0, not a whole number"),
    ((EMBED, attention(window=0)), "its window is 0"),
    ((EMBED, attention(window=2.5)), r"its window is 2\.5"),
    ((EMBED, attention(chunk=-8)), "its chunk is -8"),
    ((EMBED, attention(window=4, chunk=8)), "a window of 4 and chunks of 8"),
    ((EMBED, attention(scale=np.nan)), "its scale is nan"),
    ((EMBED, attention(scale=1e39)), r"its scale is 1e\+39"),
    ((EMBED, attention(soft_cap=0.0)), r"its soft cap is 0\.0"),
    ((EMBED, attention(soft_cap=np.nan)), "its soft cap is nan"),
    ((EMBED, attention(soft_cap=1e-60)), "its soft cap is 1e-60"),
    ((EMBED, attention(sinks=Weight("sinks", (3,)))), r"its sinks sinks have shape \(3,\), not \(2,\)"),
    ((EMBED, attention(sinks=Weight("sinks", (2,)))), r"sinks has shape \(3,\), but \(2,\) is needed"),
    ((EMBED, attention(sinks=Weight("absent", (2,)))), "tensor absent is missing"),
    ((EMBED, attention(slopes=np.ones(3, np.float32))), r"slopes are float32 \(3,\), not float32 \(2,\)"),
    ((EMBED, attention(slopes=np.ones(2))), r"slopes are float64 \(2,\)"),
    ((EMBED, attention(slopes=np.array([1, np.inf], np.float32))), "its slope inf is not finite"),
    ((EMBED, Columns(Value("y", 4), X, 5)), "columns from 5 exceed a row of 8"),
    ((EMBED, RMSNorm(Y, X, Weight("table", (3,)), 1e-5)), "does not fit a row of 8"),
    ((EMBED, attention(), attention(Value("z", 8), Y)), "its state s is written by another operation"),
    ((EMBED, attention(key=None, value=None)), "no operation before it writes its state s"),
    ((EMBED, attention(value=None)), "its key and value do not fit its state s"),
    ((EMBED, attention(state=None, value=None)), "it has no state, so it needs a key and a value"),
    ((EMBED, attention(state=State("s", KVCache(4, 2, 4)))), "its state s has 4 of 2 and 4"),
    (
        (EMBED, attention(state=State("s", KVCache(2, 4, 4, 3)), window=4)),
        "further back than the window of 3",
    ),
    ((EMBED, attention(state=State("s", Recurrent({})))), "its state s is not a KV cache"),
    ((EMBED, Rope(Y, X, 8, FREQUENCIES, "half", 1.0, WRONG_SECTIONS)), "its sections are float64"),
    ((EMBED, Rope(Y, X, 8, FREQUENCIES, "half", 1.0, np.array([0, -1], np.int32))), "section -1 is negative"),
]


@pytest.mark.parametrize(("operations", "words"), WRONG)
def test_an_inconsistent_graph_is_refused_by_name(operations: Any, words: str) -> None:
    random = np.random.RandomState(0)
    shapes = {"table": (5, 8), "sinks": (3,)}
    tensors = {name: random_tensor(name, shape, "F32", random, 1) for name, shape in shapes.items()}
    with pytest.raises(ShapeError, match=words):
        NativeBackend().compile(graph_of(*operations), tensors, CompileOptions())


def test_too_many_heads_are_refused() -> None:
    tensors = {"table": random_tensor("table", (2, 4096), "F32", np.random.RandomState(0), 1)}
    x = Value("x", 4096)
    embed = Embedding(x, Weight("table", (2, 4096)))
    state = State("s", KVCache(4096, 1, 1))
    attention = Attention(Value("y", 4096), x, x, x, state, 4096, 4096, 1, 1, 1.0)
    with pytest.raises(ShapeError, match="more than 1024 heads"):
        NativeBackend().compile(graph_of(embed, attention), tensors, CompileOptions())


def test_too_wide_heads_are_refused() -> None:
    wide = 2**16 + 1
    tensors = {"table": random_tensor("table", (2, wide), "F32", np.random.RandomState(0), 1)}
    x = Value("x", wide)
    embed = Embedding(x, Weight("table", (2, wide)))
    alone = Attention(Value("y", wide), x, x, x, State("s", KVCache(1, wide, wide)), 1, 1, wide, wide, 1.0)
    with pytest.raises(ShapeError, match="its heads are 65537 wide, more than 65536"):
        NativeBackend().compile(graph_of(embed, alone), tensors, CompileOptions())


def test_too_wide_rows_are_refused() -> None:
    wide = 2**30 + 1
    table = TensorInfo(
        "table", (1, wide), DTYPES["F32"], np.zeros(0, np.uint8)
    )  # the width is checked before the bytes
    embed = Embedding(Value("x", wide), Weight("table", (1, wide)))
    with pytest.raises(ShapeError, match="its output's width is 1073741825"):
        NativeBackend().compile(graph_of(embed), {"table": table}, CompileOptions(batch=1))


def test_a_name_of_the_graph_that_lowering_uses_itself_is_refused(tools: Any) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", np.ones((1, 32)))
    y = sketch.add(Linear(Value("y", 64), x, sketch.random("w", (64, 32), "Q8_0")))
    sketch.add(Scale(Value("x int8", 64), y, 1.0))
    with pytest.raises(ShapeError, match="x int8 names both a value of the graph and one that its lowering"):
        NativeBackend().compile(sketch.graph(), sketch.tensors, CompileOptions())


def test_a_batch_too_large_for_the_widest_value_is_refused() -> None:
    tensors = {"table": random_tensor("table", (1, 2**19), "F32", np.random.RandomState(0), 1)}
    embed = Embedding(Value("x", 2**19), Weight("table", (1, 2**19)))
    with pytest.raises(UnsupportedError, match="x is 524288 wide, too much for a batch of 1048576"):
        NativeBackend().compile(graph_of(embed), tensors, CompileOptions(batch=2**20))


def test_a_tensor_whose_bytes_do_not_fit_its_shape_is_refused() -> None:
    tensors = {"table": TensorInfo("table", (5, 8), DTYPES["F32"], np.zeros(159, np.uint8))}
    with pytest.raises(ShapeError, match="takes 160 contiguous bytes, not 159"):
        NativeBackend().compile(graph_of(EMBED), tensors, CompileOptions())


def test_outputs_must_be_of_the_wanted_rows() -> None:
    tensors = {"table": random_tensor("table", (5, 8), "F32", np.random.RandomState(0), 1)}
    with pytest.raises(ShapeError, match="output 'logits'"):
        NativeBackend().compile(Graph((EMBED,), {"logits": X}), tensors, CompileOptions())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            CompileOptions(kv_dtype="Q4_0"),
            "kv_dtype must be F16, F32 or Q8_0 for the native backend, not Q4_0",
        ),
        (CompileOptions(context=0), "context is 0"),
        (CompileOptions(batch=0), "batch is 0"),
        (CompileOptions(page=-1), "page is -1"),
        (CompileOptions(threads=0), "threads=0"),
    ],
)
def test_options_out_of_range_are_refused(options: CompileOptions, words: str) -> None:
    model = toy_decoder()
    with pytest.raises(UnsupportedError, match=words):
        NativeBackend().compile(decoder(model, context=64, pairing="half"), model.tensors, options)


def test_tables_and_quantised_values_are_computed_once() -> None:
    model = toy_decoder(dtype="Q8_0")
    lowered = lower(decoder(model, context=64, pairing="half"), model.tensors)
    codes = [record.operation for record in lowered.records]
    assert codes.count("ROPE_TABLE") == 1
    # in each of two layers one for q, k and v, the output, gate and up, and down; and one for the logits
    assert codes.count("QUANTIZE") == 2 * 4 + 1
    assert codes.count("LINEAR") == 2 * 7 + 1


def test_weights_outside_panels_are_views_of_the_file_and_the_report_names_their_kernels() -> None:
    model = toy_decoder(dtype="Q8_0", dtypes={"token_embd": "F16"}, tied=True)
    program = NativeBackend("baseline").compile(
        decoder(model, context=64, pairing="half"), model.tensors, CompileOptions(threads=1)
    )
    report = program.report()
    assert report.backend == "native"
    assert "native, baseline, 1 thread:" in report.summary
    lines = {line.tensor: line for line in report.tensors}
    assert set(lines) == set(model.tensors)
    assert lines["blk.0.ffn_up.weight"].kernel == "linear_q8_0"
    assert lines["token_embd.weight"].kernel == "embedding_f16, linear_f16"
    assert lines["blk.0.ffn_up.weight"].packing == "panels of 16 rows"
    assert lines["token_embd.weight"].packing == "as in the file, int16 panels of 16 rows"
    assert lines["output_norm.weight"].packing == "as in the file"
    assert {line.instruction_set for line in report.tensors} == {"baseline"}
    for name, uses in program.lowered.packings.items():
        stored = model.tensors[name]
        for use in uses:
            in_panels = use.in_panels
            assert in_panels != np.shares_memory(program.weights[use], stored.data)
            assert program.weights[use].nbytes >= stored.nbytes
        assert lines[name].nbytes == sum(program.weights[use].nbytes for use in uses)


def test_progress_counts_every_byte() -> None:
    model = toy_decoder()
    reported: list[tuple[int, int]] = []
    NativeBackend().compile(
        decoder(model, context=64, pairing="half"),
        model.tensors,
        CompileOptions(),
        lambda done, total: reported.append((done, total)),
    )
    assert reported[-1] == (model.nbytes, model.nbytes)


def test_a_vector_may_be_stored_as_a_matrix_of_one_row() -> None:
    model = toy_decoder(bias=True)
    graph = decoder(model, context=64)
    odd = {name: tensor.reshaped((1, *tensor.shape)) for name, tensor in model.tensors.items()}
    logits = []
    for weights in (model.tensors, odd):
        runner = DirectRunner(NativeBackend().compile(graph, weights, CompileOptions(context=64, threads=1)))
        logits.append(runner.run([Part(runner.new_sequence(), [1, 2, 3])])[0]["logits"])
    np.testing.assert_array_equal(*logits)
