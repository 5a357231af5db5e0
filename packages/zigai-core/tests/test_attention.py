"""Attention of the numpy backend against its formulas, computed in float64 one query at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch, Pages
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.graph import WANTED, Graph, Value, Weight
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.state import KVCache, State
from zigai_core.ops.alibi import alibi_slopes
from zigai_core.ops.operations import Attention, Embedding, Select
from zigai_core.ops.reference import NumpyBackend

TOKENS, HEADS, KV_HEADS = 24, 6, 2
SINKS = np.array([-np.inf, -3.0, 0.0, 2.0, 40.0, 1e30], np.float32)
SLOPES = np.array([1.0, 0.25, 2.0**-8, 0.0, -0.5, 4.0], np.float32)


def attention_in_float64(
    rows: dict[str, np.ndarray],
    key_dim: int,
    value_dim: int,
    *,
    window: int = TOKENS,
    chunk: int = TOKENS,
    soft_cap: float | None = None,
    sinks: np.ndarray | None = None,
    slopes: np.ndarray | None = None,
    ends: np.ndarray | None = None,
) -> np.ndarray:
    q, k, v = (rows[name].astype(np.float64) for name in "qkv")
    y = np.zeros((TOKENS, HEADS * value_dim))
    for p in range(TOKENS):
        end = p + 1 if ends is None else int(ends[p])
        seen = [s for s in range(end) if abs(s - p) < window and s >= p // chunk * chunk]
        for head in range(HEADS):
            kv = head // (HEADS // KV_HEADS)
            query = q[p, head * key_dim :][:key_dim]
            scores = [query @ k[s, kv * key_dim :][:key_dim] / np.sqrt(key_dim) for s in seen]
            if soft_cap is not None:
                scores = [soft_cap * np.tanh(score / soft_cap) for score in scores]
            if slopes is not None:
                scores = [score + slopes[head] * (s - p) for s, score in zip(seen, scores, strict=True)]
            if sinks is not None:
                scores.append(sinks[head])
            weights = np.exp(np.array(scores) - max(scores))
            weights /= weights.sum()
            for s, weight in zip(seen, weights, strict=False):
                y[p, head * value_dim :][:value_dim] += weight * v[s, kv * value_dim :][:value_dim]
    return y


@pytest.mark.parametrize(("key_dim", "value_dim"), [(8, 8), (12, 5), (3, 16)])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"window": 5},
        {"window": 1},
        {"chunk": 7},
        {"chunk": 1},
        {"soft_cap": 0.7},
        {"sinks": SINKS},
        {"slopes": SLOPES},
        {"sinks": SINKS, "slopes": SLOPES, "soft_cap": 2.0, "window": 9},
        {"sinks": SINKS, "slopes": SLOPES, "soft_cap": 2.0, "chunk": 9},
    ],
)
def test_attention_equals_its_formula_in_float64(key_dim: int, value_dim: int, how: dict[str, Any]) -> None:
    rows, tensors = inputs_of(key_dim, value_dim)
    graph = graph_of(key_dim, value_dim, how)
    program = NumpyBackend().compile(graph, tensors, CompileOptions(context=32, page=4))
    expected = attention_in_float64(rows, key_dim, value_dim, **how)
    for sizes_of_steps in ([TOKENS], [10, 1, 13]):
        executor, at = program.new_executor([8]), 0
        for count in sizes_of_steps:
            own = np.arange(at, at + count, dtype=np.int32)
            actual = executor.run(batch_of(own), RUN).rows("logits")
            np.testing.assert_allclose(actual, expected[own], rtol=0, atol=2e-6)
            at += count


ENDS = {
    "an encoder": np.full(TOKENS, TOKENS, np.int32),
    "an image in a text": np.array([*range(1, 6), *[14] * 9, *range(15, TOKENS + 1)], np.int32),
}


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("how", [{}, {"window": 5}, {"chunk": 7}, {"slopes": SLOPES, "window": 9}])
def test_attention_to_later_rows_equals_its_formula_in_float64(ends: str, how: dict[str, Any]) -> None:
    rows, tensors = inputs_of(8, 12)
    expected = attention_in_float64(rows, 8, 12, ends=ENDS[ends], **how)
    for stateless in (False, True):
        graph = graph_of(8, 12, how, stateless=stateless)
        program = NumpyBackend().compile(graph, tensors, CompileOptions(context=32, page=4))
        executor = program.new_executor([8] * len(graph.groups))
        steps = [TOKENS] if stateless or ends == "an encoder" else [4, 12, 8]
        for at, count in zip(np.cumsum([0, *steps]), steps, strict=False):
            own = np.arange(at, at + count, dtype=np.int32)
            batch = replace(batch_of(own), ends=ENDS[ends][own])
            batch = replace(batch, groups=()) if stateless else batch
            np.testing.assert_allclose(
                executor.run(batch, RUN).rows("logits"), expected[own], rtol=0, atol=2e-6
            )


RUN = np.zeros(1, np.int32)


def batch_of(own: np.ndarray) -> Batch:
    zeros, all_rows = np.zeros(len(own), np.int32), np.arange(len(own), dtype=np.int32)
    return Batch(own, zeros, own, all_rows, (Pages([np.array([3, 0, 5, 1, 7, 2], np.int32)]),))


def inputs_of(key_dim: int, value_dim: int) -> tuple[dict[str, np.ndarray], dict[str, TensorInfo]]:
    random = np.random.RandomState(2)
    widths = {"q": HEADS * key_dim, "k": KV_HEADS * key_dim, "v": KV_HEADS * value_dim}
    rows = {
        name: random.standard_normal((TOKENS, width)).astype(np.float32) for name, width in widths.items()
    }
    tensors = {
        name: TensorInfo(name, array.shape, DTYPES["F32"], array.view(np.uint8).reshape(-1))
        for name, array in (rows | {"sinks": SINKS}).items()
    }
    return rows, tensors


def graph_of(key_dim: int, value_dim: int, how: dict[str, Any], *, stateless: bool = False) -> Graph:
    widths = {"q": HEADS * key_dim, "k": KV_HEADS * key_dim, "v": KV_HEADS * value_dim}
    embeds = [Embedding(Value(name, width), Weight(name, (TOKENS, width))) for name, width in widths.items()]
    inputs = [embed.output for embed in embeds]
    sinks = {"sinks": Weight("sinks", (HEADS,))} if "sinks" in how else {}
    y = Value("y", HEADS * value_dim)
    window = how.get("window", how.get("chunk"))
    state = None if stateless else State("cache", KVCache(KV_HEADS, key_dim, value_dim, window))
    sizes = (HEADS, KV_HEADS, key_dim, value_dim, key_dim**-0.5)
    attention = Attention(y, *inputs, state, *sizes, **(how | sinks))
    assert attention.fault() is None
    out = Value("out", y.width, WANTED)
    return Graph((*embeds, attention, Select(out, y)), {"logits": out})


def test_alibi_slopes_equal_those_of_the_authors_code() -> None:
    # get_slopes of github.com/ofirpress/attention_with_linear_biases
    np.testing.assert_array_equal(alibi_slopes(8), 2.0 ** -np.arange(1, 9))
    np.testing.assert_allclose(alibi_slopes(12)[8:], 2.0 ** -np.array([0.5, 1.5, 2.5, 3.5]), rtol=1e-7)
    np.testing.assert_array_equal(alibi_slopes(12)[:8], alibi_slopes(8))
    np.testing.assert_array_equal(alibi_slopes(1), [2.0**-8])
    assert alibi_slopes(12).dtype == np.float32
    np.testing.assert_array_equal(alibi_slopes(4, max_bias=16.0), 2.0 ** -np.array([4, 8, 12, 16.0]))
