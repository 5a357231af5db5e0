"""Types of tokens: what the engine does with those of requests, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import TokenizerError, UnsupportedError, ZigAIError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Program
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request
from zigai_core.engine.sampling import Sampler
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import random_tensors

WIDTH = 6
TENSORS = random_tensors({"token_embd.weight": (9, WIDTH), "token_types.weight": (3, WIDTH)})
TOKENS, TYPES = (TENSORS[f"{name}.weight"].to_float32() for name in ("token_embd", "token_types"))


def program(*, cached: bool = False) -> Program:
    """Sums of the embeddings of token and type; `cached`: with a layer of attention, whose keys are kept."""
    g = GraphBuilder(TENSORS)
    x = g.add(g.embedding("token_embd", WIDTH), g.type_embedding("token_types", WIDTH), name="sum")
    if cached:
        x = g.attention(x, x, x, state="layer", heads=1, kv_heads=1, head_dim=WIDTH, name="attention")
    g.output("hidden", g.select(x))
    return NumpyBackend().compile(g.finish(), TENSORS, CompileOptions(context=32, batch=8, page=4))


def asked(tokens: list[int], types: Any = None, **options: Any) -> Request:
    return Request(tokens, types=types, outputs="hidden", rows="all", **options)


def test_each_request_has_its_own_types_in_steps_of_several() -> None:
    given = [([1, 2, 3], [0, 2, 1]), ([4, 5], None), ([6, 7, 8, 1, 2, 3, 4], [1, 1, 0, 0, 2, 2, 0])]
    with Engine(program()) as engine:
        streams = [engine.submit(asked(tokens, types)) for tokens, types in given]
        for stream, (tokens, types) in zip(streams, given, strict=True):
            expected = TOKENS[tokens] + TYPES[types or [0] * len(tokens)]
            np.testing.assert_allclose(stream.outputs, expected, rtol=1e-6)
        assert engine.stats().steps < 3  # several requests were in one step


def test_tokens_of_other_types_are_not_found_by_prefix() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]
    given = (None, [1] * 10, None, [1] * 10)
    with Engine(program(cached=True)) as engine:
        streams = [engine.submit(Request(tokens, types=types, outputs="hidden")).result() for types in given]
    plain, typed, again, typed_again = (stream.outputs for stream in streams)
    with Engine(program(cached=True)) as engine:
        alone = engine.submit(Request(tokens, types=[1] * 10, outputs="hidden")).outputs
    assert [stream.usage.cached_tokens for stream in streams] == [0, 0, len(tokens) - 1, 0]
    np.testing.assert_allclose(typed, alone, rtol=1e-5)
    np.testing.assert_allclose(typed_again, alone, rtol=1e-5)
    np.testing.assert_allclose(again, plain, rtol=1e-5)
    assert np.abs(typed - plain).max() > 1e-3


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([0, 1], "types must be a whole number for each of the prompt's 3 tokens"),
        ([0, 1, 0.5], "types must be a whole number for each"),
        ([[0, 1, 0]], "types must be a whole number for each"),
        ([0, 3, 1], "a token has type 3, but the model knows types 0 to 2"),
        ([0, -1, 1], "a token has type -1, but the model knows types 0 to 2"),
    ],
)
def test_types_that_do_not_fit_the_prompt_or_the_model_are_refused(types: Any, message: str) -> None:
    with Engine(program()) as engine, pytest.raises(TokenizerError, match=message):
        engine.submit(asked([1, 2, 3], types))


def test_a_model_without_types_knows_type_0_alone() -> None:
    g = GraphBuilder(TENSORS)
    g.output("hidden", g.select(g.embedding("token_embd", WIDTH)))
    with Engine(NumpyBackend().compile(g.finish(), TENSORS, CompileOptions(context=32))) as engine:
        np.testing.assert_allclose(engine.submit(asked([1, 2], [0, 0])).outputs, TOKENS[[1, 2]])
        with pytest.raises(TokenizerError, match="a token has type 1, but the model knows type 0 alone"):
            engine.submit(asked([1, 2], [0, 1]))


def test_a_request_with_types_generates_nothing_is_not_shifted_and_not_forked() -> None:
    with pytest.raises(UnsupportedError, match="a request with types generates nothing"):
        asked([1, 2], [0, 1], sampler=Sampler(SamplingOptions.greedy()))
    with pytest.raises(UnsupportedError, match="a prompt with types cannot be shifted"):
        asked([1, 2], [0, 1], overflow="shift")
    with Engine(program()) as engine:
        plain, typed = engine.submit(asked([1, 2])), engine.submit(asked([1, 2], [0, 1]))
        for stream, request in ((plain, asked([1, 2], [0, 1])), (typed, asked([1, 2]))):
            with pytest.raises(ZigAIError, match="fork: tokens that have types share nothing"):
                engine.fork(stream, request)
