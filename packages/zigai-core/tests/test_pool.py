"""Pooling: its numpy definition, what it is refused for, and embeddings of a graph that pools."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.api.loading import assemble
from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import PluginError, ShapeError, TokenizerError, UnsupportedError
from zigai_core.contracts.graph import TOKENS, Graph, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Pool
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.pool import TENSORS, WIDTH, pooling
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

TOKENS_GIVEN = np.array([3, 9, 4, 9, 1], np.int32)
SEQUENCES = np.array([0, 1, 0, 1, 0], np.int32)  # rows of others lie between those of a sequence
INDEX = np.array([0, 0, 1, 1, 2], np.int32)


def encoder(model: Any, *, context: int) -> Graph:
    """An encoder of whole texts that attends to nothing: the mean of their embeddings."""
    g = GraphBuilder(model.tensors)
    for pattern in ("blk.*", "output*"):
        g.leave_out(pattern, "this is a toy")
    g.output("hidden", g.pool(g.embedding("token_embd", 64), "mean"))
    return g.finish()


def embedding_model(**tokenizer: Any) -> Model:
    plugins = Plugins(
        architectures={"encoder": encoder},
        tokenizers={"llama": ByteTokenizer},
        backends={"numpy": NumpyBackend},
    )
    toy = toy_decoder("encoder")
    assert toy.tokenizer is not None
    return assemble(
        dataclasses.replace(toy, tokenizer=dataclasses.replace(toy.tokenizer, **tokenizer)), plugins=plugins
    )


@pytest.mark.parametrize(
    ("kind", "rows"), [("mean", ([3, 4, 1], [9, 9])), ("cls", ([3], [9])), ("last", ([1], [9]))]
)
def test_a_row_is_the_pool_of_its_own_sequence(kind: Any, rows: tuple[list[int], list[int]]) -> None:
    g = GraphBuilder(TENSORS)
    g.output("hidden", g.pool(g.embedding("token_embd", WIDTH), kind))
    executor = NumpyBackend().compile(g.finish(), TENSORS, CompileOptions(context=8)).new_executor(())
    ends = np.array([3, 2, 3, 2, 3], np.int32)
    batch = Batch(TOKENS_GIVEN, SEQUENCES, INDEX, np.array([1, 0, 4], np.int32), ends=ends)
    table = TENSORS["token_embd.weight"].to_float32()
    first, second = (table[ids].mean(0) for ids in rows)
    found = executor.run(batch, np.zeros(1, np.int32)).rows("hidden")
    np.testing.assert_allclose(found, [second, first, first], rtol=0, atol=1e-6)


def test_a_graph_that_pools_needs_whole_sequences_and_says_how_it_pools() -> None:
    graph = pooling("cls")
    assert (graph.whole_sequences, graph.pooling) == (True, "cls")
    g = GraphBuilder(TENSORS)
    g.output("hidden", g.select(g.embedding("token_embd", WIDTH)))
    assert g.finish().pooling is None


def test_a_graph_that_pools_has_no_states() -> None:
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    x = g.attention(x, x, x, state="blk.0", heads=2, kv_heads=2, head_dim=9, name="attention")
    g.output("hidden", g.pool(x, "mean"))
    with pytest.raises(PluginError, match=r"pooled pools whole sequences, but the state blk\.0"):
        g.finish()


def test_what_cannot_be_pooled_is_refused() -> None:
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    with pytest.raises(ShapeError, match="no kind 'max' of pooling, only last, mean, cls"):
        g.pool(x, "max")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="not wanted ones of those of tokens"):
        g.pool(g.select(x), "mean")
    with pytest.raises(ShapeError, match="not wanted ones of those of tokens"):
        g.append(Pool(Value("a", WIDTH, TOKENS), x, "mean"))
    with pytest.raises(ShapeError, match=f"is {WIDTH} wide, its output 3"):
        g.append(Pool(Value("b", 3, "wanted"), x, "mean"))


def test_an_embedding_is_the_graphs_own_pool() -> None:
    model = embedding_model()
    table = model.descriptor.tensors["token_embd.weight"].to_float32()
    texts = [[5, 6, 7], [8], list(range(40))]
    for pool in (None, "mean"):
        rows = model.embed(texts, pooling=pool, normalize=False)  # type: ignore[arg-type]
        np.testing.assert_allclose(rows, [table[text].mean(0) for text in texts], rtol=0, atol=1e-6)


def test_a_text_ends_with_the_end_of_text_token_if_the_file_asks_for_it() -> None:
    plain = embedding_model(add_bos=False)
    ended = embedding_model(add_bos=False, add_eos=True, special_ids={"eos": 2})
    tokens = plain.tokenizer.encode("some text")
    np.testing.assert_array_equal(ended.embed("some text"), plain.embed([*tokens, 2]))
    np.testing.assert_array_equal(ended.embed(["some text"])[0], ended.embed([*tokens, 2]))
    assert np.abs(ended.embed("some text") - plain.embed("some text")).max() > 1e-3
    with pytest.raises(TokenizerError, match="has no tokens"):
        ended.embed([""])


@pytest.mark.parametrize("pool", ["last", "cls"])
def test_another_pooling_than_the_graphs_own_is_refused(pool: Any) -> None:
    with pytest.raises(UnsupportedError, match=f"pooling='{pool}': this model makes one embedding"):
        embedding_model().embed("some text", pooling=pool)
