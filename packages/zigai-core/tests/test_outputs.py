"""Graphs without logits, without a hidden state or with outputs of other names, from builder to model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.api.loading import assemble
from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import FormatError, PluginError, TokenizerError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.base import OPTIONS, outputs_of
from zigai_core.testing.backend.outputs import WIDTH, encoder_graph, encoder_tensors
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import random_tensor, toy_decoder, toy_vocabulary

TEXT = "a text to embed"


class NotRun(NumpyBackend):
    """A backend whose programs must not be run."""

    def compile(self, *arguments: Any) -> Any:
        program = super().compile(*arguments)

        def new_executor(sizes: object) -> Any:
            raise AssertionError("the program was run")

        program.new_executor = new_executor  # type: ignore[method-assign]
        return program


def encoder(vocabulary: int = 512) -> ModelDescriptor:
    hp = {"context_length": 64}
    return ModelDescriptor(
        name="toy-encoder",
        architecture="encoder",
        hyperparameters=Hyperparameters(hp, prefix="encoder"),
        tensors=encoder_tensors(vocabulary),
        tokenizer=toy_vocabulary(512),
        chat_template="{{ messages[0].content }}",
    )


def model(
    descriptor: ModelDescriptor, output: str = "hidden", backend: type[NumpyBackend] = NumpyBackend
) -> Model:
    def build(model: ModelDescriptor, *, context: int) -> Graph:
        if model.architecture == "llama":
            return decoder(model, context=context, pairing="adjacent")
        return encoder_graph(dict(model.tensors), output)

    architectures = {"encoder": build, "llama": build}
    plugins = Plugins(
        architectures=architectures, tokenizers={"llama": ByteTokenizer}, backends={"numpy": backend}
    )
    return assemble(descriptor, plugins=plugins)


def test_a_model_without_logits_embeds_text() -> None:
    toy = model(encoder())
    tokens = toy.tokenizer.encode(TEXT)
    expected = outputs_of(NumpyBackend().compile(toy.graph, toy.descriptor.tensors, OPTIONS), tokens)[
        "hidden"
    ][-1]
    assert expected.shape == (WIDTH,)
    np.testing.assert_array_equal(toy.embed(TEXT, normalize=False), expected)
    np.testing.assert_array_equal(toy.embed(tokens, normalize=False), expected)


@pytest.mark.parametrize(
    "ask",
    [
        lambda toy: toy.generate(TEXT),
        lambda toy: toy.chat(),
        lambda toy: toy.logits([1, 2]),
        lambda toy: toy.graph.vocabulary_size,
        lambda toy: model(toy_decoder()).generate(TEXT, draft=toy),
    ],
    ids=["generate", "chat", "logits", "vocabulary_size", "draft"],
)
def test_calls_that_need_logits_are_refused_by_name_before_computing(ask: Any) -> None:
    toy = model(encoder(), backend=NotRun)
    with pytest.raises(UnsupportedError, match=r"named logits \(its outputs: hidden\): .*embed\(\)"):
        ask(toy)


def test_embedding_without_a_hidden_state_is_refused_by_name_before_computing() -> None:
    toy = model(encoder(), "relevance", backend=NotRun)
    with pytest.raises(UnsupportedError, match=r"\(its outputs: relevance\): it cannot embed text$"):
        toy.embed(TEXT)


def test_any_output_is_returned_by_name_and_others_are_refused_before_computing() -> None:
    toy = model(encoder(), "relevance")
    for name in ("logits", "hidden", "relevances"):
        with pytest.raises(UnsupportedError, match="no output named"):
            toy.outputs(name, [1, 2, 3])
    assert toy.engine.stats().submitted == 0
    expected = outputs_of(NumpyBackend().compile(toy.graph, toy.descriptor.tensors, OPTIONS), [1, 2, 3])[
        "relevance"
    ]
    np.testing.assert_array_equal(toy.outputs("relevance", [1, 2, 3]), expected)


def test_token_ids_are_checked_against_the_rows_of_the_embedding() -> None:
    tensors = encoder_tensors(40)
    graph = encoder_graph(tensors)
    assert graph.token_limit == 40
    engine = Engine(NumpyBackend().compile(graph, tensors, model(encoder()).options))
    for token in (40, -1):
        with pytest.raises(TokenizerError, match=f"token {token} is outside the model's vocabulary of 40"):
            engine.submit(Request([39, token], outputs="hidden"))
    assert engine.submit(Request([39], outputs="hidden")).outputs.shape == (1, WIDTH)


def test_the_smallest_embedding_limits_the_token_ids() -> None:
    tensors = encoder_tensors(40)
    tensors["second.weight"] = random_tensor("second.weight", (9, WIDTH), "F32", np.random.RandomState(0), 1)
    g = GraphBuilder(tensors)
    both = g.add(g.embedding("token_embd", WIDTH), g.embedding("second", WIDTH), name="both")
    g.output("hidden", g.select(both))
    assert g.finish().token_limit == 9


@pytest.mark.parametrize("count", [511, 513])
def test_an_embedding_may_have_more_rows_than_the_model_has_tokens_but_not_fewer(count: int) -> None:
    toy = toy_decoder()
    name = "token_embd.weight"
    other = random_tensor(name, (count, 64), "F32", np.random.RandomState(0), 1)
    changed = dataclasses.replace(toy, tensors={**toy.tensors, name: other})
    if count == 511:
        words = "the embedding token_embd.weight has 511 rows, but the model has 512 tokens"
        with pytest.raises(FormatError, match=words):
            model(changed)
    else:
        assert model(changed).logits([512]).shape == (1, 512)


def test_a_tokenizer_with_more_tokens_than_rows_of_the_embedding_is_refused() -> None:
    words = "the embedding token_embd.weight has 40 rows, but the model has 512 tokens"
    with pytest.raises(FormatError, match=words):
        model(encoder(40))


def test_a_graph_needs_an_output_and_names_of_outputs_are_unique() -> None:
    g = GraphBuilder(encoder_tensors())
    with pytest.raises(PluginError, match="the graph has no outputs"):
        g.finish()
    x = g.select(g.embedding("token_embd", WIDTH))
    g.output("hidden", x)
    with pytest.raises(PluginError, match="already has an output named hidden"):
        g.output("hidden", x)
