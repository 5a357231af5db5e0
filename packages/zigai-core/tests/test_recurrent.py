"""Operations with a recurrent state, against loops in float64 that are written from their formulas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch, Slots
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import PluginError, ShapeError
from zigai_core.contracts.graph import WANTED, Array, Graph, Value, Weight
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.state import KVCache, Recurrent, State
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import GatedDelta, SelectiveScan, ShortConv
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.graphs import core_recurrent_graph, core_recurrent_tensors
from zigai_core.testing.oracles import MutationScore, Oracle
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.mutants import mutants
from zigai_core.testing.toys import random_tensor

RANDOM = np.random.RandomState(6)
TOKENS = 11


def tensors_of(**arrays: Any) -> dict[str, TensorInfo]:
    found = {}
    for name, array in arrays.items():
        values = np.ascontiguousarray(array, np.float32)
        found[name] = TensorInfo(name, values.shape, DTYPES["F32"], values.view(np.uint8).reshape(-1))
    return found


class Inputs:
    """A graph whose inputs are given rows: row i of each is token i's."""

    def __init__(self, tensors: Mapping[str, Any] | None = None, **rows: Any) -> None:
        given = {f"{name}.weight": values for name, values in rows.items()}
        self.tensors = tensors_of(**given, **(tensors or {}))
        self.g = GraphBuilder(self.tensors)
        self.values = {name: self.g.embedding(name, values.shape[1]) for name, values in rows.items()}

    def run(self, output: Value, *, steps: Sequence[int] = (TOKENS,)) -> Array:
        """The rows of a value, computed in steps of so many tokens."""
        self.g.output("logits", self.g.select(output))
        options = CompileOptions(context=64, batch=32, page=8)
        executor = NumpyBackend().compile(self.g.finish(), self.tensors, options).new_executor([2])
        rows, done = [], 0
        for number, count in enumerate(steps):
            index = np.arange(done, done + count, dtype=np.int32)
            read = np.array([-1 if done == 0 else number % 2], np.int32)
            slots = Slots(read, np.array([(count - 1, 1 - number % 2)], np.int32))
            of_rows = np.arange(count, dtype=np.int32)
            batch = Batch(index, np.zeros(count, np.int32), index, of_rows, (slots,))
            rows.append(executor.run(batch, np.zeros(1, np.int32)).rows("logits").copy())
            done += count
        return np.concatenate(rows)


def rows_of(width: int, scale: float = 1.0) -> Any:
    return (RANDOM.standard_normal((TOKENS, width)) * scale).astype(np.float32)


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [(TOKENS,), (1,) * TOKENS, (2, 6, 3)])
@pytest.mark.parametrize("taps", [2, 4, 7])
@pytest.mark.parametrize("bias", [False, True])
def test_a_short_convolution_equals_its_formula(taps: int, bias: bool, steps: Sequence[int]) -> None:
    x, weight, added = rows_of(5), rows_of(taps)[:5], rows_of(5)[0]
    given: dict[str, Any] = {"w.weight": weight} | ({"w.bias": added} if bias else {})
    at = Inputs(given, x=x)
    actual = at.run(at.g.short_conv(at.values["x"], "w", state="s", name="y"), steps=steps)
    expected = np.zeros((TOKENS, 5))
    for t in range(TOKENS):
        for c in range(5):
            expected[t, c] = float(added[c]) if bias else 0.0
            for k in range(taps):
                source = t - taps + 1 + k
                expected[t, c] += float(weight[c, k]) * float(x[source, c]) if source >= 0 else 0.0
    close(actual, expected)


@pytest.mark.parametrize("steps", [(TOKENS,), (1,) * TOKENS, (2, 6, 3)])
@pytest.mark.parametrize("order", ["grouped", "tiled"])
def test_the_gated_delta_rule_equals_its_formula(order: Any, steps: Sequence[int]) -> None:
    heads, key_heads, key_dim, value_dim, scale = 6, 3, 4, 5, 0.7
    q, k, v = rows_of(key_heads * key_dim), rows_of(key_heads * key_dim, 0.4), rows_of(heads * value_dim)
    decay, beta = -np.abs(rows_of(heads)), 1 / (1 + np.exp(-rows_of(heads)))
    at = Inputs(q=q, k=k, v=v, decay=decay, beta=beta)
    how: dict[str, Any] = {"heads": heads, "key_heads": key_heads, "scale": scale, "order": order}
    actual = at.run(at.g.gated_delta(*at.values.values(), state="s", name="y", **how), steps=steps)
    reads = {"grouped": [0, 0, 1, 1, 2, 2], "tiled": [0, 1, 2, 0, 1, 2]}[order]
    expected = np.zeros((TOKENS, heads * value_dim))
    for head, key_head in enumerate(reads):
        own, keys = slice(head * value_dim, (head + 1) * value_dim), slice(key_head * 4, key_head * 4 + 4)
        s = np.zeros((key_dim, value_dim))
        for t in range(TOKENS):
            key, query = k[t, keys].astype(float), q[t, keys].astype(float)
            # Equation 10 of the paper: S_t = S_{t-1} α (I - β k kᵀ) + β v kᵀ, with the axes of S exchanged.
            alpha, share = np.exp(float(decay[t, head])), float(beta[t, head])
            s = alpha * (np.eye(key_dim) - share * np.outer(key, key)) @ s
            s = s + share * np.outer(key, v[t, own])
            expected[t, own] = scale * query @ s
    close(actual, expected)


@pytest.mark.parametrize("steps", [(TOKENS,), (1,) * TOKENS, (2, 6, 3)])
@pytest.mark.parametrize("shape", ["heads", "heads, 1", "heads, states", "channels"])
@pytest.mark.parametrize("direct", [False, True])
def test_a_selective_scan_equals_its_formula(shape: str, direct: bool, steps: Sequence[int]) -> None:
    heads, head_dim, groups, size = (12, 1, 1, 3) if shape == "channels" else (6, 4, 3, 5)
    x, step = rows_of(heads * head_dim), np.abs(rows_of(heads))
    b, c = rows_of(groups * size), rows_of(groups * size)
    numbers = {"heads": (heads,), "heads, 1": (heads, 1)}.get(shape, (heads, size))
    a, d = -np.abs(RANDOM.standard_normal(numbers)), RANDOM.standard_normal(numbers[:1])
    at = Inputs({"a": a, "d": d}, x=x, step=step, b=b, c=c)
    how: dict[str, Any] = {"a": "a", "d": "d" if direct else None, "heads": heads, "groups": groups}
    actual = at.run(at.g.selective_scan(*at.values.values(), state="s", name="y", **how), steps=steps)
    expected = np.zeros((TOKENS, heads * head_dim))
    h = np.zeros((heads, head_dim, size))
    for t in range(TOKENS):
        for head in range(heads):
            first = head // (heads // groups) * size
            for p in range(head_dim):
                column = head * head_dim + p
                for n in range(size):
                    rate = a[head] if a.ndim == 1 else a[head, n if a.shape[1] > 1 else 0]
                    kept = np.exp(float(step[t, head]) * float(rate)) * h[head, p, n]
                    h[head, p, n] = kept + float(step[t, head]) * float(x[t, column]) * float(b[t, first + n])
                    expected[t, column] += float(c[t, first + n]) * h[head, p, n]
                if direct:
                    expected[t, column] += float(d[head]) * float(x[t, column])
    close(actual, expected)


def recurrent(name: str, *shape: int) -> State:
    return State("s", Recurrent({name: (shape, "float32")}))


X, HEADS = Value("x", 8), Value("heads", 4)
CONV = ShortConv(Value("y", 8), X, Weight("w", (8, 3)), recurrent("x", 2, 8), Weight("b", (8,)))
DELTA = GatedDelta(Value("y", 8), X, X, X, HEADS, HEADS, recurrent("s", 4, 4, 2), 4, 2, 0.5)
B = Value("b", 6)
SCAN = SelectiveScan(
    Value("y", 8), X, HEADS, B, B, Weight("a", (4,)), recurrent("h", 4, 2, 3), 4, 2, Weight("d", (4, 1))
)
WRONG: Any = "other"


def test_what_fits_has_no_fault() -> None:
    a = replace(SCAN, a=Weight("a", (4, 3)), d=None)
    for good in (CONV, replace(CONV, bias=None), DELTA, replace(DELTA, order="tiled"), SCAN, a):
        assert good.fault() is None


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (replace(CONV, x=Value("z", 7)), "its x z is 7 wide, not 8"),
        (replace(CONV, x=Value("x", 8, WANTED)), "its x x has wanted rows"),
        (replace(CONV, output=Value("y", 8, WANTED)), "its output y has wanted rows"),
        (replace(CONV, weight=Weight("w", (8, 1))), r"shape \(8, 1\), not 8 channels of 2 taps or more"),
        (replace(CONV, weight=Weight("w", (8,))), r"its weight w has shape \(8,\)"),
        (replace(CONV, weight=Weight("w", (7, 3))), r"its weight w has shape \(7, 3\)"),
        (replace(CONV, weight=Weight("w", (8, 4))), "its state s is not an array x of"),
        (replace(CONV, bias=Weight("b", (7,))), r"its bias b has shape \(7,\)"),
        (replace(CONV, state=State("s", KVCache(1, 2, 3))), "its state s is not an array x of"),
        (replace(DELTA, heads=0), "its heads is 0, not a whole number"),
        (replace(DELTA, key_heads=True), "its key_heads is True, not a whole number"),
        (replace(DELTA, key_heads=3), "4 heads cannot share 3 key heads"),
        (replace(DELTA, order=WRONG), "its order of heads is 'other'"),
        (replace(DELTA, scale=float("nan")), "its scale is nan"),
        (replace(DELTA, q=Value("q", 7)), "its q q is 7 wide, not 2 heads"),
        (replace(DELTA, k=Value("k", 6)), "its k k is 6 wide, not 8"),
        (replace(DELTA, v=Value("v", 6)), "its v v is 6 wide, not 8"),
        (replace(DELTA, decay=Value("g", 8)), "its decay g is 8 wide, not 4"),
        (replace(DELTA, beta=Value("g", 8)), "its beta g is 8 wide, not 4"),
        (replace(DELTA, output=Value("y", 6)), "its output is 6 wide, not 4 heads"),
        (replace(DELTA, beta=Value("g", 4, WANTED)), "its beta g has wanted rows"),
        (replace(DELTA, state=recurrent("s", 4, 2, 4)), "its state s is not an array s of"),
        (replace(SCAN, groups=3), "4 heads cannot share 3 groups"),
        (replace(SCAN, groups=-1), "its groups is -1"),
        (replace(SCAN, x=Value("z", 6)), "its x z is 6 wide, not 8"),
        (replace(SCAN, step=Value("z", 8)), "its step z is 8 wide, not 4"),
        (replace(SCAN, b=Value("z", 5)), "its b z is 5 wide, not 2 groups"),
        (replace(SCAN, c=Value("z", 8)), "its c z is 8 wide, not 6"),
        (replace(SCAN, a=Weight("a", (4, 2))), r"its a a has shape \(4, 2\), not 4 heads"),
        (replace(SCAN, d=Weight("d", (8,))), r"its d d has shape \(8,\), not 4 heads"),
        (replace(SCAN, state=recurrent("h", 4, 3, 2)), "its state s is not an array h of"),
    ],
)
def test_what_does_not_fit_is_a_fault_by_name(wrong: Any, text: str) -> None:
    assert re.search(text, str(wrong.fault())), wrong.fault()


def test_the_builder_names_what_does_not_fit() -> None:
    at = Inputs({"w.weight": np.ones((8, 3)), "a": np.ones(5)}, x=rows_of(8), few=rows_of(4))
    g, x, few = at.g, at.values["x"], at.values["few"]
    with pytest.raises(ShapeError, match=r"w\.weight"):
        g.short_conv(few, "w", state="one")
    with pytest.raises(ShapeError, match=r"tensor v.weight.*missing"):
        g.short_conv(x, "v", state="two")
    how: dict[str, Any] = {"scale": 1.0, "name": "y"}
    with pytest.raises(ShapeError, match="y: 0 heads"):
        g.gated_delta(x, x, x, few, few, state="three", heads=0, key_heads=2, **how)
    with pytest.raises(ShapeError, match="y: 4 heads cannot share 3 key heads"):
        g.gated_delta(x, x, x, few, few, state="four", heads=4, key_heads=3, **how)
    with pytest.raises(ShapeError, match="y: its a a has shape"):
        g.selective_scan(x, few, few, few, a="a", state="five", heads=4, name="y")
    with pytest.raises(ShapeError, match="y: 4 heads and 0 groups"):
        g.selective_scan(x, few, few, few, a="a", state="six", heads=4, groups=0, name="y")
    g.short_conv(x, "w", state="taken")
    with pytest.raises(PluginError, match="a state named taken"):
        g.short_conv(x, "w", state="taken", name="again")


ORACLES = Path(__file__).parent / "data" / "oracles"


def recurrent_case() -> tuple[Graph, dict[str, TensorInfo]]:
    tensors = core_recurrent_tensors()
    return core_recurrent_graph(tensors), tensors


def test_mutants_of_each_field_are_among_the_mutations() -> None:
    names = [mutant.name for mutant in mutants(recurrent_case()[0])]
    for expected in (
        "conv: bias left out",
        "conv: is token_embd, without ShortConv",
        "grouped delta: order is tiled",
        "tiled delta: order is grouped",
        "grouped delta: q and k exchanged",
        "grouped delta: decay and beta exchanged",
        "grouped delta: scale is 0.44, not 0.4",
        "of heads: b and c exchanged",
        "of heads: d left out",
    ):
        assert expected in names, expected


def test_no_mutant_of_a_recurrent_operation_survives() -> None:
    graph, tensors = recurrent_case()
    tokens = tuple(int(token) for token in np.random.RandomState(8).randint(0, 40, 37))
    outputs = Evaluation(graph, float_weights(graph, tensors), tokens).outputs()
    model = replace(Oracle.load(ORACLES / "window.npz").model, tensors=tensors)
    score = MutationScore.of(Oracle(model, tokens, dict(outputs)), graph)
    ours = {op.output.name for op in graph if isinstance(op, (ShortConv, GatedDelta, SelectiveScan))}
    assert [name for name in score.survived if name.split(":")[0] in ours] == []
    killed = [mutant.split(":")[0] for mutant in map(str, score.killed)]
    assert ours <= {*killed}


def test_slots_that_do_not_fit_are_refused() -> None:
    at = Inputs({"w.weight": rows_of(3)[:8]}, x=rows_of(8))
    at.g.output("logits", at.g.select(at.g.short_conv(at.values["x"], "w", state="s", name="y")))
    options = CompileOptions(context=64, batch=32, page=8)
    executor = NumpyBackend().compile(at.g.finish(), at.tensors, options).new_executor([3])
    rows = np.arange(2, dtype=np.int32)
    none = np.zeros((0, 2), np.int32)
    for reads, writes, text in (
        ([0], none, "sequence 1 reads no slot: there are 1"),
        ([0, 3], none, "slot 3 is outside -1..2"),
        ([0, 0], [(1, 0)], "slot 0 is both read and written"),
        ([-1, 0], [(0, 1), (1, 1)], "slot 1 is written twice"),
        ([-1, -1], [(2, 1)], "row 2 is outside 0..1"),
        ([-1, -1], [(1, 3)], "slot 3 is outside 0..2"),
        ([-1, -1], [1], "writes of slots must be an int32 array of 2 dimensions"),
        ([-1, -1], [(1, 2, 3)], r"shape \(1, 3\), not pairs"),
    ):
        slots = Slots(np.array(reads, np.int32), np.array(writes, np.int32))
        batch = Batch(rows, rows, np.zeros(2, np.int32), rows, (slots,))
        with pytest.raises(ShapeError, match=text):
            executor.run(batch, np.zeros(1, np.int32))


def test_a_filter_may_be_stored_in_another_type() -> None:
    tensors = {"w.weight": random_tensor("w.weight", (8, 3), "F16", np.random.RandomState(0), 1.0)}
    at = Inputs(x=rows_of(8))
    at.tensors |= tensors
    y = at.run(at.g.short_conv(at.values["x"], "w", state="s", name="y"))
    filters = tensors["w.weight"].to_float32()
    close(y[0], at.tensors["x.weight"].to_float32()[0] * filters[:, 2])
