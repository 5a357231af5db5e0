from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.plugins import Backend

TOKENS = 40
KV_DTYPES = ["F16", "F32", "Q8_0"]


@pytest.mark.parametrize("page", [1, 7, 16, 100])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "key_dim"), [(1, 1, 1), (4, 4, 8), (6, 2, 20), (7, 1, 64), (20, 1, 16), (8, 2, 80)]
)
def test_attention_agrees_with_its_definition(
    tools: Any, backend: Backend, page: int, heads: int, kv_heads: int, key_dim: int
) -> None:
    options = dataclasses.replace(tools.options, page=page)
    tools.compare(
        backend, tools.attention(heads, kv_heads, key_dim), tools.batch(range(TOKENS)), options=options
    )


@pytest.mark.parametrize("page", [1, 16, 100])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "key_dim"), [(1, 1, 1), (6, 2, 20), (7, 1, 64), (4, 4, 33), (8, 2, 80)]
)
def test_an_eight_bit_cache_agrees_with_its_definition(
    tools: Any, backend: Backend, page: int, heads: int, kv_heads: int, key_dim: int
) -> None:
    options = dataclasses.replace(tools.options, page=page, kv_dtype="Q8_0")
    sketch = tools.attention(heads, kv_heads, key_dim, soft_cap=3.0)
    y = tools.compare(backend, sketch, tools.batch(range(TOKENS)), options=options)["logits"]
    whole = tools.bench(backend.compile(sketch.graph(), sketch.tensors, tools.options))
    assert np.abs(y - whole.run(tools.batch(range(TOKENS)))["logits"]).max() < 0.1


@pytest.mark.parametrize("positions", [1, 2, 5, 16, 39, 40, 1000, 2**40])
@pytest.mark.parametrize("limit", ["window", "chunk"])
@pytest.mark.parametrize("soft_cap", [None, 0.7])
def test_windows_chunks_and_a_soft_cap_agree_with_their_definition(
    tools: Any, backend: Backend, limit: str, positions: int, soft_cap: float | None
) -> None:
    options = dataclasses.replace(tools.options, page=8)
    sketch = tools.attention(soft_cap=soft_cap, **{limit: positions})
    tools.compare(backend, sketch, tools.batch(range(TOKENS)), options=options)


SINKS = [-np.inf, -2.0, 1.0, 4.0, 50.0, -1e30]
SLOPES = np.array([0.5, 0.25, 2.0**-8, 0.0, -0.1, 3.0], np.float32)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize(
    ("kv_heads", "key_dim", "value_dim"), [(6, 192, 128), (1, 40, 24), (3, 24, 40), (2, 33, 7), (3, 64, 64)]
)
@pytest.mark.parametrize("sinks", [None, SINKS])
@pytest.mark.parametrize("slopes", [None, SLOPES])
@pytest.mark.parametrize("limit", [{}, {"window": 7}, {"chunk": 12}])
def test_every_combination_agrees_with_its_definition(
    tools: Any,
    backend: Backend,
    kv_dtype: str,
    kv_heads: int,
    key_dim: int,
    value_dim: int,
    sinks: Any,
    slopes: Any,
    limit: dict[str, int],
) -> None:
    options = dataclasses.replace(tools.options, page=16, kv_dtype=kv_dtype)
    cap = {"soft_cap": 3.0} if kv_heads == 3 else {}
    sketch = tools.attention(6, kv_heads, key_dim, value_dim, sinks=sinks, slopes=slopes, **limit, **cap)
    # the reference keeps float32 for F16
    atol = 5e-3 if kv_dtype == "F16" else 2e-5
    tools.compare(backend, sketch, tools.batch(range(TOKENS)), options=options, atol=atol)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_heads_as_wide_as_those_of_latent_attention_agree_with_their_definition(
    tools: Any, backend: Backend, kv_dtype: str
) -> None:
    options = dataclasses.replace(tools.options, page=16, kv_dtype=kv_dtype)
    sketch = tools.attention(16, 1, 576, 512)
    atol = 5e-3 if kv_dtype == "F16" else 2e-5
    tools.compare(backend, sketch, tools.batch(range(TOKENS)), options=options, atol=atol)


@pytest.mark.parametrize("sink", [-np.inf, -1e38, -100.0, 0.0, 100.0, 1e6, 3e38])
@pytest.mark.parametrize("page", [4, 64])
def test_a_sink_of_any_size_agrees_with_its_definition(
    tools: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch, sink: float, page: int
) -> None:
    spans_of(monkeypatch, page)
    options = dataclasses.replace(tools.options, page=page)
    sketch = tools.attention(sinks=[sink, 1.0, sink, -1.0])
    batch = tools.batch(range(TOKENS))
    y = tools.compare(backend, sketch, batch, options=options)["logits"].reshape(TOKENS, 4, 8)
    if sink > 99:
        assert np.abs(y[:, [0, 2]]).max() < 1e-30
    if sink < -99:
        plain = tools.bench(backend.compile(tools.attention().graph(), sketch.tensors, options)).run(batch)
        np.testing.assert_array_equal(y[:, [0, 2]], plain["logits"].reshape(TOKENS, 4, 8)[:, [0, 2]])


@pytest.mark.parametrize("sink", [np.inf, np.nan])
def test_a_sink_that_is_nan_or_infinite_affects_only_its_head(
    tools: Any, backend: Backend, sink: float
) -> None:
    sketch = tools.attention(sinks=[1.0, sink, 0.0, 0.0])
    batch = tools.batch(range(TOKENS))
    with np.errstate(invalid="ignore"):
        y = tools.compare(backend, sketch, batch)["logits"].reshape(TOKENS, 4, 8)
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2, 3]]).all()


FEATURES: list[dict[str, Any]] = [
    {},
    {"window": 5},
    {"chunk": 6},
    {"value_dim": 40, "sinks": [0.5, -1.0, 3.0, 0.0, -np.inf, 2.0]},
    {"value_dim": 7, "slopes": SLOPES, "window": 9},
    {"chunk": 13, "sinks": [0.5, -1.0, 3.0, 0.0, -np.inf, 2.0], "slopes": SLOPES, "soft_cap": 2.0},
]


@pytest.mark.parametrize("scale", [0.0, -3.0, 50.0])
def test_any_scale_agrees_with_its_definition(tools: Any, backend: Backend, scale: float) -> None:
    tools.compare(backend, tools.attention(scale=scale), tools.batch(range(TOKENS)), atol=1e-4)


def spans_of(monkeypatch: pytest.MonkeyPatch, positions: int) -> None:
    """Set the number of positions of a span in programs compiled from now on."""
    monkeypatch.setattr("zigai_kernels.program.ATTENTION_SPAN", positions)


@pytest.mark.parametrize(("span", "kv_heads"), [(1, 2), (8, 2), (8, 6), (512, 2)])
@pytest.mark.parametrize("how", FEATURES)
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_a_token_is_bitwise_the_same_in_every_batch(
    tools: Any,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    span: int,
    kv_heads: int,
    how: dict[str, Any],
    kv_dtype: str,
) -> None:
    spans_of(monkeypatch, span)
    options = dataclasses.replace(tools.options, page=4, kv_dtype=kv_dtype, threads=1)
    sketch = tools.attention(6, kv_heads, 24, **how)
    whole = tools.compare(backend, sketch, tools.batch(range(TOKENS)), options=options, atol=5e-3)["logits"]
    program = backend.compile(sketch.graph(), sketch.tensors, dataclasses.replace(options, threads=3))
    # steps of few tokens are split by spans, longer ones are not
    for steps in ([1] * TOKENS, [13, 1, 26], [3] * 13 + [1], [16, 17, 7], [TOKENS]):
        bench, at = tools.bench(program), 0
        for count in steps:
            y = bench.run(tools.batch(range(at, at + count), first=at, tables=[range(10)]))["logits"]
            np.testing.assert_array_equal(y, whole[at : at + count])
            at += count


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"window": 600},
        {"chunk": 700, "sinks": [1.0, -2.0, 5.0]},
        {"value_dim": 40, "sinks": [1.0, -2.0, 5.0], "slopes": SLOPES[:3] / 16},
    ],
)
def test_a_context_of_several_spans_agrees_with_its_definition(
    tools: Any, backend: Backend, kv_dtype: str, how: dict[str, Any]
) -> None:
    tokens = 1100
    options = dataclasses.replace(tools.options, context=tokens, batch=tokens, page=64, kv_dtype=kv_dtype)
    sketch = tools.attention(3, 1, 16, tokens=tokens, **how)
    table = range(18)
    # the reference keeps float32 for F16
    atol = 5e-3 if kv_dtype == "F16" else 1e-5
    batch = tools.batch(range(tokens), tables=[table])
    whole = tools.compare(backend, sketch, batch, options=options, atol=atol)["logits"]
    bench = tools.bench(backend.compile(sketch.graph(), sketch.tensors, options))
    for at, count in ((0, 500), (500, 20), (520, 504), (1024, 60), (1084, 15), (1099, 1)):
        y = bench.run(tools.batch(range(at, at + count), first=at, tables=[table]))["logits"]
        np.testing.assert_array_equal(y, whole[at : at + count])


def test_many_heads_split_by_spans_agree_with_their_definition(
    tools: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans_of(monkeypatch, 4)
    options = dataclasses.replace(tools.options, page=2, threads=3)
    sketch = tools.attention(64, 32, 4)
    tools.compare(backend, sketch, tools.batch(range(16)), options=options)


@pytest.mark.parametrize("span", [4, 512])
@pytest.mark.parametrize("how", FEATURES)
def test_sequences_in_a_batch_are_bitwise_the_same_as_alone(
    tools: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch, span: int, how: dict[str, Any]
) -> None:
    spans_of(monkeypatch, span)
    options = dataclasses.replace(tools.options, page=4)
    sketch = tools.attention(6, **how)
    program = backend.compile(sketch.graph(), sketch.tensors, options)
    prompts = [range(9), range(20, 21), range(5, 22)]
    tables = [[7, 2, 5], [0], [1, 3, 4, 6, 15]]
    alone = [tools.bench(program).run(tools.batch(prompt))["logits"] for prompt in prompts]
    # once one sequence after another, once with their rows interleaved
    for order in (
        [(s, p) for s in range(3) for p in range(len(prompts[s]))],
        sorted(((s, p) for s in range(3) for p in range(len(prompts[s]))), key=lambda row: row[1]),
    ):
        batch = tools.batch(
            [prompts[s][p] for s, p in order],
            sequences=[s for s, _ in order],
            index=[p for _, p in order],
            tables=tables,
        )
        y = tools.bench(program).run(batch)["logits"]
        for row, (sequence, position) in enumerate(order):
            np.testing.assert_array_equal(y[row], alone[sequence][position])
    # the last token of each again, in one step: few enough tokens for a split by spans
    bench = tools.bench(program)
    bench.run(batch)
    last = [len(prompt) - 1 for prompt in prompts]
    tokens = [prompt[-1] for prompt in prompts]
    y = bench.run(tools.batch(tokens, sequences=[0, 1, 2], index=last, tables=tables))["logits"]
    for sequence in range(3):
        np.testing.assert_array_equal(y[sequence], alone[sequence][-1])


def test_float16_keys_and_values_are_near_float32_ones(tools: Any, backend: Backend) -> None:
    options = dataclasses.replace(tools.options, kv_dtype="F16", page=8)
    tools.compare(backend, tools.attention(), tools.batch(range(TOKENS)), atol=5e-3, options=options)


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("value_dim", [8, 40])
def test_attention_over_copied_pages_equals_the_originals(
    tools: Any, backend: Backend, kv_dtype: str, value_dim: int
) -> None:
    options = dataclasses.replace(tools.options, page=4, kv_dtype=kv_dtype)
    sketch = tools.attention(value_dim=value_dim)
    program = backend.compile(sketch.graph(), sketch.tensors, options)
    whole = tools.bench(program).run(tools.batch(range(8)))["logits"]
    bench = tools.bench(program)
    bench.run(tools.batch(range(6), tables=[[0, 1]]))
    bench.executor.copy(0, [(0, 9), (1, 5), (3, 3)])
    bench.run(tools.batch(range(10, 16), tables=[[0, 1]]))
    y = bench.run(tools.batch([6, 7], first=6, tables=[[9, 5]]))["logits"]
    np.testing.assert_array_equal(y, whole[6:])


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
@pytest.mark.parametrize("page", [1, 16])
def test_a_value_that_is_not_finite_does_not_affect_earlier_tokens(
    tools: Any, backend: Backend, kv_dtype: str, wrong: float, page: int
) -> None:
    sketch = tools.attention()
    rows = sketch.tensors["v.weight"].to_float32().copy()
    rows[6] = wrong
    sketch.tensor("v.weight", rows)
    options = dataclasses.replace(tools.options, kv_dtype=kv_dtype, page=page)
    y = tools.bench(backend.compile(sketch.graph(), sketch.tensors, options)).run(tools.batch(range(9)))
    assert np.isfinite(y["logits"][:6]).all()
    assert not np.isfinite(y["logits"][6:]).any()


@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
@pytest.mark.parametrize("tensor", ["k.weight", "v.weight"])
@pytest.mark.parametrize(
    "how", [{"window": 2}, {"chunk": 4}, {"chunk": 4, "slopes": SLOPES[:4], "soft_cap": 2.0}]
)
@pytest.mark.parametrize("page", [1, 4, 16])
def test_keys_and_values_that_are_not_finite_affect_only_tokens_that_see_them(
    tools: Any, backend: Backend, kv_dtype: str, tensor: str, how: dict[str, Any], page: int
) -> None:
    sketch = tools.attention(**how)
    rows = sketch.tensors[tensor].to_float32().copy()
    rows[6] = np.nan
    sketch.tensor(tensor, rows)
    options = dataclasses.replace(tools.options, kv_dtype=kv_dtype, page=page)
    bench = tools.bench(backend.compile(sketch.graph(), sketch.tensors, options))
    spoiled = ~np.isfinite(bench.run(tools.batch(range(TOKENS)))["logits"])
    assert spoiled[6:8].all()
    assert not spoiled[:6].any()
    assert not spoiled[8:].any()
