"""Scores of pairs: how they are encoded and computed, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.api.loading import assemble
from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import ContextOverflowError, TokenizerError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.oracles import float_tensor
from zigai_core.testing.toys import toy_decoder

WIDTH = 64
RANDOM = np.random.RandomState(0)
TYPES = RANDOM.standard_normal((2, WIDTH)).astype(np.float32)
HEAD = RANDOM.standard_normal((3, WIDTH)).astype(np.float32)


def reranker(*, labels: int = 1, types: bool = True, context: int | None = None, **tokenizer: Any) -> Model:
    """The head of the mean of the embeddings of tokens, and with `types` of types."""

    def encoder(model: Any, *, context: int) -> Graph:
        g = GraphBuilder(model.tensors)
        for pattern in ("blk.*", "output*"):
            g.leave_out(pattern, "this is a toy")
        x = g.embedding("token_embd", WIDTH)
        if types:
            x = g.add(x, g.type_embedding("token_types", WIDTH), name="typed")
        g.output("scores", g.linear(g.pool(x, "mean"), "cls.output", labels))
        return g.finish()

    toy = toy_decoder("encoder")
    assert toy.tokenizer is not None
    tensors = {**toy.tensors, "cls.output.weight": float_tensor("cls.output.weight", HEAD[:labels])}
    if types:
        tensors["token_types.weight"] = float_tensor("token_types.weight", TYPES)
    usual: dict[str, Any] = {"separators": (3, 4), "second_type": 1, "add_bos": True, "add_eos": True}
    spec = dataclasses.replace(toy.tokenizer, **{**usual, **tokenizer})
    plugins = Plugins(
        architectures={"encoder": encoder},
        tokenizers={"llama": ByteTokenizer},
        backends={"numpy": NumpyBackend},
    )
    settings = {} if context is None else {"context": context}
    return assemble(dataclasses.replace(toy, tensors=tensors, tokenizer=spec), plugins=plugins, **settings)


def expected(model: Model, first: list[int], second: list[int], *, second_type: int = 1) -> float:
    rows = model.descriptor.tensors["token_embd.weight"].to_float32()[[*first, *second]]
    if model.graph.type_limit > 1:
        rows = rows + TYPES[[*[0] * len(first), *[second_type] * len(second)]]
    return float(HEAD[0] @ rows.mean(axis=0))


def parts(model: Model, query: str, document: str) -> tuple[list[int], list[int]]:
    """BOS, the query, the separators; the document, EOS: of the file's settings, written out."""
    ids, encode = model.tokenizer.special_ids, model.tokenizer.encode
    return [ids["bos"], *encode(query, bos=False), 3, 4], [*encode(document, bos=False), ids["eos"]]


DOCUMENTS = [f"document {number}" * (1 + number % 7) for number in range(150)]  # more than are in the engine


@pytest.mark.parametrize(("types", "second_type"), [(True, 1), (True, 0), (False, 1)])
def test_each_document_has_the_score_of_its_pair_with_the_types_of_the_tokenizer(
    types: bool, second_type: int
) -> None:
    with reranker(types=types, second_type=second_type) as model:
        scores = model.rerank("a query", DOCUMENTS)
        assert (scores.dtype, scores.shape) == (np.float32, (150,))
        wanted = [
            expected(model, *parts(model, "a query", each), second_type=second_type) for each in DOCUMENTS
        ]
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)
        assert np.std(wanted) > 1e-2
        assert model.stats().steps < len(DOCUMENTS)  # together


def test_outer_tokens_are_those_that_texts_have() -> None:
    with reranker(add_bos=False, add_eos=False, separators=(5,)) as model:
        encode = model.tokenizer.encode
        first, second = [*encode("q", bos=False), 5], encode("d", bos=False)
        np.testing.assert_allclose(model.rerank("q", ["d"]), [expected(model, first, second)], rtol=1e-4)


def test_control_tokens_in_texts_are_text_and_texts_may_be_empty() -> None:
    with reranker() as model:
        texts = ["</s>", "", "<s>a"]
        wanted = [expected(model, *parts(model, "</s>", each)) for each in texts]
        np.testing.assert_allclose(model.rerank("</s>", texts), wanted, rtol=1e-4)
        assert model.rerank("q", []).shape == (0,)


def test_a_document_that_is_too_long_is_named_before_anything_is_computed_or_cut_off_at_its_end() -> None:
    with reranker(context=20) as model:
        first, second = parts(model, "query", "x" * 40)
        with pytest.raises(
            ContextOverflowError, match=r"document 1 has 40 tokens, but .* of 20 holds 11: give"
        ):
            model.rerank("query", ["ok", "x" * 40])
        assert model.stats().steps == 0
        cut = [*second[:11], second[-1]]
        scores = model.rerank("query", ["ok", "x" * 40], truncate=True)
        np.testing.assert_allclose(scores[1], expected(model, first, cut), rtol=1e-4)
        with pytest.raises(ContextOverflowError, match="the query leaves no room for a document"):
            model.rerank("q" * 17, ["a"], truncate=True)


def test_an_error_about_a_text_says_which() -> None:
    with reranker() as model:
        with pytest.raises(TokenizerError, match=r"^document 1: the text has a lone surrogate"):
            model.rerank("query", ["ok", "\ud800"])
        with pytest.raises(TokenizerError, match=r"^the query: the text has a lone surrogate"):
            model.rerank("\ud800", ["ok"])


def test_a_model_that_is_no_reranker_says_what_to_do_and_a_reranker_embeds_nothing() -> None:
    with reranker() as model, pytest.raises(UnsupportedError, match=r"it is a reranker.*use rerank\(\)"):
        model.embed("a text")
    with (
        reranker() as model,
        pytest.raises(UnsupportedError, match=r"no output named logits.*use rerank\(\)"),
    ):
        model.generate("a text")
    plugins = Plugins(
        architectures={"toy": decoder}, tokenizers={"llama": ByteTokenizer}, backends={"numpy": NumpyBackend}
    )
    model = assemble(toy_decoder("toy"), plugins=plugins)
    with model, pytest.raises(UnsupportedError, match=r"no output named scores .* load a reranker"):
        model.rerank("q", ["d"])


def test_a_classifier_and_a_tokenizer_without_pairs_are_refused_by_name() -> None:
    with (
        reranker(labels=3) as model,
        pytest.raises(UnsupportedError, match=r"hidden .*: it gives scores of several labels"),
    ):
        model.embed("a text")
    with reranker(labels=3) as model, pytest.raises(UnsupportedError, match="gives 3 scores for a text"):
        model.rerank("q", ["d"])
    with (
        reranker(separators=()) as model,
        pytest.raises(UnsupportedError, match="no form for pairs of texts"),
    ):
        model.rerank("q", ["d"])


@pytest.mark.parametrize(
    ("query", "documents", "message"),
    [
        ("q", "d", "documents must be a list of texts, not 'd'"),
        ("q", None, "documents must be a list of texts, not None"),
        ("q", ["a", 3], "document 1 must be a text, not int"),
        (b"q", ["a"], "the query must be a text, not bytes"),
    ],
)
def test_what_is_no_text_is_refused(query: Any, documents: Any, message: str) -> None:
    with reranker() as model, pytest.raises(TokenizerError, match=message):
        model.rerank(query, documents)
