"""Rows that see later ones: bidirectional attention, images in a text, encoders."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.contracts.plugins import Backend
from zigai_core.ops.operations import Add
from zigai_kernels import NativeBackend

TOKENS = 40
KV_DTYPES = ["F16", "F32", "Q8_0"]


def images(*blocks: tuple[int, int], tokens: int = TOKENS) -> list[int]:
    """Causal ends, but rows first..end of a block all see the whole block."""
    ends = list(range(1, tokens + 1))
    for first, end in blocks:
        ends[first:end] = [end] * (end - first)
    return ends


ENDS: dict[str, list[int]] = {
    "bidirectional": [TOKENS] * TOKENS,
    "images": images((3, 9), (9, 12), (20, 37)),
    "a prefix": images((0, 15)),
    "falling": [max(i + 1, TOKENS - i) for i in range(TOKENS)],
    "any": [int(end) for end in np.random.RandomState(1).randint(np.arange(TOKENS) + 1, TOKENS + 1)],
    "before the row": [max(1, i - 2) for i in range(TOKENS)],
}
LIMITED: list[dict[str, Any]] = [
    {},
    {"window": 5},
    {"window": 17, "sinks": [0.5, -1.0, 3.0, 0.0]},
    {"chunk": 6, "slopes": np.array([0.5, 0.1, 0.0, -0.2], np.float32)},
    {"value_dim": 24, "slopes": np.array([0.5, 0.1, 0.0, -0.2], np.float32), "soft_cap": 2.0},
]


ENDS_AND_LIMITS = [
    pytest.param(ends, how, id=f"{name}-{number}")
    for name, ends in ENDS.items()
    for number, how in enumerate(LIMITED)
    if not (name == "before the row" and "chunk" in how)  # the first rows of a chunk would see nothing
]


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize(("ends", "how"), ENDS_AND_LIMITS)
@pytest.mark.parametrize("span", [8, 512])
def test_any_ends_agree_with_their_definition(
    tools: Any,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    kv_dtype: str,
    ends: list[int],
    how: dict[str, Any],
    span: int,
) -> None:
    monkeypatch.setattr("zigai_kernels.program.ATTENTION_SPAN", span)
    options = dataclasses.replace(tools.options, page=8, kv_dtype=kv_dtype)
    atol = 5e-3 if kv_dtype == "F16" else 2e-5  # the reference keeps float32 for F16
    batch = tools.batch(range(TOKENS), ends=ends)
    tools.compare(backend, tools.attention(**how), batch, options=options, atol=atol)


@pytest.mark.parametrize("how", LIMITED)
@pytest.mark.parametrize("span", [8, 512])
def test_a_row_is_bitwise_the_same_wherever_a_step_ends_that_has_what_it_sees(
    tools: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], span: int
) -> None:
    monkeypatch.setattr("zigai_kernels.program.ATTENTION_SPAN", span)
    options = dataclasses.replace(tools.options, page=4, kv_dtype="F16", threads=3)
    sketch, ends = tools.attention(**how), ENDS["images"]
    program = backend.compile(sketch.graph(), sketch.tensors, options)
    whole = tools.bench(program).run(tools.batch(range(TOKENS), ends=ends, tables=[range(10)]))["logits"]
    for cuts in ([3, 9, 12, 20, 37], [1, 2, 12, 13, 14, 15, 16, 37, 39]):
        bench = tools.bench(program)
        for start, end in zip([0, *cuts], [*cuts, TOKENS], strict=True):
            batch = tools.batch(range(start, end), first=start, ends=ends[start:end], tables=[range(10)])
            np.testing.assert_array_equal(bench.run(batch)["logits"], whole[start:end])


@pytest.mark.parametrize("window", [None, 1, 2, 3, 9])
@pytest.mark.parametrize("span", [2, 4])
def test_few_rows_split_by_spans_agree_with_their_definition(
    tools: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch, window: int | None, span: int
) -> None:
    monkeypatch.setattr("zigai_kernels.program.ATTENTION_SPAN", span)
    options = dataclasses.replace(tools.options, page=2, threads=1)
    # rows of three sequences take turns, so that each is a tile of its own, whose end is beyond its window
    rows, tables = np.arange(15), [range(3), range(3, 6), range(6, 9)]
    batch = tools.batch(rows, index=rows // 3, sequences=rows % 3, ends=[5] * 15, tables=tables)
    y = tools.compare(backend, tools.attention(window=window), batch, options=options)["logits"]
    assert np.isfinite(y).all()


@pytest.mark.parametrize("how", LIMITED)
def test_causal_ends_are_bitwise_the_same_as_none(tools: Any, backend: Backend, how: dict[str, Any]) -> None:
    options = dataclasses.replace(tools.options, page=4)
    sketch = tools.attention(**how)
    bench = tools.bench(backend.compile(sketch.graph(), sketch.tensors, options))
    plain = bench.run(tools.batch(range(TOKENS)))["logits"]
    given = bench.run(tools.batch(range(TOKENS), ends=range(1, TOKENS + 1)))["logits"]
    np.testing.assert_array_equal(given, plain)


@pytest.mark.parametrize("window", [1, 2, 5, 16, 39, 2**40])
def test_a_window_is_symmetric_where_rows_see_later_ones(tools: Any, backend: Backend, window: int) -> None:
    sketch = tools.attention(window=window)
    batch = tools.batch(range(TOKENS), ends=[TOKENS] * TOKENS)
    y = tools.compare(backend, sketch, batch)["logits"]
    if window == 1:  # each row sees itself alone
        values = sketch.tensors["v.weight"].to_float32().reshape(TOKENS, 2, 1, 8).repeat(2, axis=2)
        np.testing.assert_allclose(y, values.reshape(TOKENS, -1), rtol=1e-6)


@pytest.mark.parametrize("tensor", ["k.weight", "v.weight"])
def test_what_is_not_finite_affects_only_rows_that_see_it(tools: Any, backend: Backend, tensor: str) -> None:
    sketch, ends = tools.attention(window=5), images((4, 12))
    rows = sketch.tensors[tensor].to_float32().copy()
    rows[9] = np.nan
    sketch.tensor(tensor, rows)
    options = dataclasses.replace(tools.options, page=4)
    bench = tools.bench(backend.compile(sketch.graph(), sketch.tensors, options))
    spoiled = ~np.isfinite(bench.run(tools.batch(range(TOKENS), ends=ends))["logits"])
    sees = [i for i in range(TOKENS) if ends[i] > 9 and abs(i - 9) < 5]
    assert sees == list(range(5, 14))
    assert spoiled[sees].all()
    assert not np.delete(spoiled, sees, axis=0).any()


def encoder(tools: Any, **how: Any) -> Any:
    """Two attentions without states, of different shapes, on the same inputs, and a third on their sum."""
    sketch = tools.attention(state=None, **how)
    first = sketch.operations[-1]
    wide = dataclasses.replace(first, output=Value("z", first.output.width), window=None, scale=0.1)
    sketch.add(wide)
    both = sketch.add(Add(Value("both", first.output.width), first.output, wide.output))
    sketch.add(dataclasses.replace(first, output=Value("again", first.output.width), query=both))
    return sketch


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("how", [{}, {"window": 4}])
@pytest.mark.parametrize("page", [1, 4, 16, 64])
def test_whole_sequences_agree_with_their_definition(
    tools: Any, backend: Backend, kv_dtype: str, how: dict[str, Any], page: int
) -> None:
    options = dataclasses.replace(tools.options, page=page, kv_dtype=kv_dtype)
    sketch = encoder(tools, **how)
    atol = 2e-5  # without a state, the type of the cache does not matter
    lengths = (9, 1, 20, 10)
    index = [i for length in lengths for i in range(length)]
    sequences = [s for s, length in enumerate(lengths) for _ in range(length)]
    ends = [length for length in lengths for _ in range(length)]
    batch = tools.batch(range(TOKENS), sequences=sequences, index=index, ends=ends, groups=[])
    together = tools.compare(backend, sketch, batch, options=options, atol=atol)["logits"]
    # the rows of sequences in another order, and causal
    order = np.random.RandomState(2).permutation(TOKENS)
    order = order[np.argsort(np.array(index)[order], kind="stable")]
    mixed = tools.batch(
        np.arange(TOKENS)[order].tolist(),
        sequences=np.array(sequences)[order],
        index=np.array(index)[order],
        ends=np.array(ends)[order],
        groups=[],
    )
    bench = tools.bench(backend.compile(sketch.graph(), sketch.tensors, options))
    np.testing.assert_array_equal(bench.run(mixed)["logits"], together[order])
    tools.compare(backend, sketch, tools.batch(range(TOKENS), groups=[]), options=options, atol=atol)
    # one alone, after others in the same memory
    alone = tools.batch(range(10, 30), index=range(20), ends=[20] * 20, groups=[])
    np.testing.assert_array_equal(bench.run(alone)["logits"], together[10:30])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"first": 1}, "sequence 0 begins at index 1, but this model keeps no state"),
        ({"ends": [4, 3, 3]}, "sequence 0 has 3 rows, of which one has an end of 4"),
        ({"sequences": [1, 1, 3]}, "sequence 3, but a step of 3 rows has no more sequences"),
        ({"groups": [[range(3)]]}, "1 groups, but the graph has 0"),
    ],
)
def test_a_step_with_parts_of_sequences_is_refused_without_a_state(
    tools: Any, change: dict[str, Any], words: str
) -> None:
    bench = encoder(tools).bench(NativeBackend())
    change = {"index": [0, 1, 0]} | change if "sequences" in change else change
    with pytest.raises(ShapeError, match=words):
        bench.executor.run(tools.batch(range(3), **({"groups": []} | change)), tools.go())
