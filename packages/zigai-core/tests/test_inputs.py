"""Embeddings in place of tokens: what the engine does with those of requests, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch, Pages
from zigai_core.contracts.errors import PluginError, ShapeError, TokenizerError, UnsupportedError, ZigAIError
from zigai_core.contracts.graph import WANTED, Graph, Value
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Program
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.engine.drafters import NgramDrafter
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request
from zigai_core.engine.sampling import Sampler
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Inputs
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import random_tensors

WIDTH, VOCABULARY = 6, 9
TENSORS = random_tensors({"token_embd.weight": (VOCABULARY, WIDTH), "output.weight": (VOCABULARY, WIDTH)})
TABLE = TENSORS["token_embd.weight"].to_float32()
TOKENS = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3]
PLACES = (1, 2, 5, 10)
"""Indices of `TOKENS` that are given as rows of the table."""


def graph(*, scaled: bool = False, inputs: bool = True) -> Graph:
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    x = g.scale(x, 3.0, name="scaled") if scaled else x
    x = g.inputs(x) if inputs else x
    x = g.attention(x, x, x, state="layer", heads=1, kv_heads=1, head_dim=WIDTH, name="attention")
    x = g.select(x)
    g.output("hidden", x)
    g.output("logits", g.linear(x, "output", VOCABULARY))
    return g.finish()


def program(of: Graph | None = None, *, context: int = 32, batch: int = 8) -> Program:
    return NumpyBackend().compile(
        of or graph(), TENSORS, CompileOptions(context=context, batch=batch, page=4)
    )


def replaced(tokens: Sequence[int], places: Sequence[int] = PLACES) -> list[int]:
    return [-1 if place in places else token for place, token in enumerate(tokens)]


def rows(tokens: Sequence[int], places: Sequence[int] = PLACES) -> Any:
    return TABLE[[tokens[place] for place in places]]


def drawing() -> Sampler:
    """Draws that differ from token to token, and are the same in each run."""
    return Sampler(SamplingOptions(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3))


def whole(of: Program, tokens: Sequence[int], embeddings: Any = None) -> Any:
    at = DirectRunner(of)
    return at.run([Part(at.new_sequence(), tokens, want_all=True, embeddings=embeddings)])[0]["hidden"]


def test_rows_stand_where_the_graph_takes_them() -> None:
    scaled, plain = program(graph(scaled=True)), program()
    given = whole(scaled, replaced(TOKENS), 3 * rows(TOKENS))
    np.testing.assert_allclose(given, whole(scaled, TOKENS), rtol=1e-5)
    np.testing.assert_array_equal(whole(plain, [-1] * 11, 3 * TABLE[TOKENS]), whole(scaled, TOKENS))
    assert np.abs(whole(plain, replaced(TOKENS), rows(TOKENS) + 1) - whole(plain, TOKENS)).max() > 1e-2


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 11, 16])
def test_rows_of_the_table_equal_its_tokens_in_every_chunking(batch: int) -> None:
    of = program(batch=batch)
    np.testing.assert_array_equal(whole(of, replaced(TOKENS), rows(TOKENS)), whole(of, TOKENS))
    with Engine(of) as engine:
        found = engine.submit(asked(replaced(TOKENS), rows(TOKENS))).outputs
        np.testing.assert_array_equal(found, engine.submit(asked(TOKENS)).outputs)


def asked(tokens: Sequence[int], embeddings: Any = None, **options: Any) -> Request:
    return Request(tokens, embeddings=embeddings, outputs="hidden", rows="all", **options)


def test_each_request_has_its_own_rows_in_steps_of_several() -> None:
    other, last = [5, 4, 3, 2], [8, 8, 7]
    given = [
        (TOKENS, replaced(TOKENS), rows(TOKENS)),
        (other, other, None),
        (last, replaced(last, (0, 1, 2)), rows(last, (0, 1, 2))),
        (other, replaced(other, (3,)), rows(other, (3,))),
    ]
    with Engine(program(batch=16)) as engine:
        expected = [engine.submit(asked(tokens, cache=False)).outputs for tokens, _, _ in given]
        streams = [engine.submit(asked(tokens, embeddings)) for _, tokens, embeddings in given]
        steps = engine.stats().steps
        for stream, of in zip(streams, expected, strict=True):
            np.testing.assert_array_equal(stream.outputs, of)
        assert engine.stats().steps - steps < len(given)  # several requests were in one step


def test_a_prompt_with_rows_of_the_table_is_continued_as_its_tokens_are() -> None:
    with Engine(program()) as engine:
        expected = engine.submit(Request(TOKENS, max_tokens=9, sampler=drawing())).result().tokens
        request = Request(replaced(TOKENS), max_tokens=9, sampler=drawing(), embeddings=rows(TOKENS))
        assert engine.submit(request).result().tokens == expected
        assert len(set(expected)) > 3


def test_a_preempted_request_takes_its_rows_again() -> None:
    def requests(embeddings: bool) -> list[Request]:
        found = []
        for shift in range(3):
            tokens = TOKENS[shift:] + TOKENS[:shift]
            given = (replaced(tokens), rows(tokens)) if embeddings else (tokens, None)
            found.append(
                Request(given[0], max_tokens=12, sampler=drawing(), embeddings=given[1], cache=False)
            )
        return found

    with Engine(program(), budget=Budget(tokens=32)) as engine:
        streams = [engine.submit(request) for request in requests(embeddings=True)]
        replies = [stream.result().tokens for stream in streams]
        assert engine.stats().preemptions > 0
    with Engine(program()) as engine:
        assert replies == [engine.submit(request).result().tokens for request in requests(embeddings=False)]


def test_a_prompt_with_embeddings_neither_finds_a_prefix_nor_leaves_one() -> None:
    tokens = replaced(TOKENS)
    with Engine(program()) as engine:
        first, other, again, more = (
            engine.submit(Request(prompt, outputs="hidden", embeddings=embeddings)).outputs
            for prompt, embeddings in (
                (tokens, rows(TOKENS)),
                (tokens, -rows(TOKENS)),
                (tokens, rows(TOKENS)),
                (TOKENS[:8], None),
            )
        )
        assert engine.stats().cached_tokens == 0
        engine.submit(Request([*TOKENS[:8], 5], outputs="hidden")).result()
        assert engine.stats().cached_tokens == 8  # other requests share prefixes as ever
    assert np.abs(other - first).max() > 1e-2
    np.testing.assert_array_equal(again, first)
    assert more.shape == first.shape


def test_a_request_keeps_the_rows_that_it_was_submitted_with() -> None:
    given = rows(TOKENS)
    with Engine(program()) as engine:
        stream = engine.submit(asked(replaced(TOKENS), given))
        given[:] = 0
        np.testing.assert_array_equal(stream.outputs, engine.submit(asked(TOKENS)).outputs)


@pytest.mark.parametrize(
    ("options", "prompt", "like"),
    [
        ({"repeat_penalty": 1.5}, [3, 8, -1, -1, 3], [3, 8, 3]),
        ({"presence_penalty": 0.5, "frequency_penalty": 0.2}, [3, 8, -1, -1, 3], [3, 8, 3]),
        ({"repeat_penalty": 1.5}, [-1, -1], []),
        ({"dry_multiplier": 0.8, "dry_allowed_length": 1}, [3, 8, -1, -1, 3], [3, 8, 5, 4, 3]),
        ({"dry_multiplier": 0.8, "dry_allowed_length": 1}, [4, -1, -1, 5, -1], [4, 1, 2, 5, 6]),
    ],
)
def test_penalties_pass_over_embeddings(options: dict[str, Any], prompt: list[int], like: list[int]) -> None:
    logits = np.linspace(-1, 1, VOCABULARY, dtype=np.float32)
    found = []
    for tokens in (prompt, like):
        sampler = Sampler(SamplingOptions(**options), vocabulary=VOCABULARY)
        sampler.start(tokens)
        found.append(sampler.distribution(logits))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (TABLE[:2], "there are 2 embeddings for 1 tokens -1 of the prompt"),
        (TABLE[:0], "there are 0 embeddings for 1 tokens -1 of the prompt"),
        (TABLE[0], r"must be a float32 array \[n, width\], not float32 \(6,\)"),
        (TABLE[:1].astype(np.float64), r"must be a float32 array \[n, width\], not float64 \(1, 6\)"),
        ([[0.0] * WIDTH], r"must be a float32 array \[n, width\], not \[\["),
        (TABLE[:1] * np.float32(np.nan), "embedding 0 has numbers that are not finite"),
        (np.full((1, WIDTH), np.inf, np.float32), "embedding 0 has numbers that are not finite"),
        (TABLE[:1, :5], "embeddings are 5 wide, and the model takes rows of 6"),
    ],
)
def test_embeddings_that_do_not_fit_the_prompt_or_the_model_are_refused(
    embeddings: Any, message: str
) -> None:
    with Engine(program()) as engine, pytest.raises(ShapeError, match=message):
        engine.submit(asked([1, -1, 3], embeddings))


def test_a_token_in_whose_place_nothing_is_given_is_refused() -> None:
    with Engine(program()) as engine:
        with pytest.raises(TokenizerError, match=r"token -1 is outside .*; it stands for an embedding"):
            engine.submit(asked([1, -1, 3]))
        for wrong in (-2, VOCABULARY):
            with pytest.raises(
                TokenizerError, match=f"token {wrong} is outside the model's vocabulary of 9$"
            ):
                engine.submit(asked([1, -1, wrong], TABLE[:1]))


def test_a_graph_that_takes_no_embeddings_refuses_them() -> None:
    with Engine(program(graph(inputs=False))) as engine:
        with pytest.raises(UnsupportedError, match="this model's graph takes none in place of tokens"):
            engine.submit(asked([1, -1, 3], TABLE[:1]))
        with pytest.raises(TokenizerError, match=r"token -1 is outside the model's vocabulary of 9$"):
            engine.submit(asked([1, -1, 3]))
    assert graph().input_width == WIDTH
    assert graph(inputs=False).input_width is None


def test_what_cannot_be_right_with_embeddings_is_refused() -> None:
    tokens, given = [1, -1, 3], TABLE[:1]
    with pytest.raises(UnsupportedError, match=r"has no draft tokens.*: leave out the drafter"):
        Request(tokens, embeddings=given, sampler=drawing(), drafter=NgramDrafter())
    with pytest.raises(UnsupportedError, match="cannot be shifted: use the overflow policy stop or error"):
        Request(tokens, embeddings=given, sampler=drawing(), overflow="shift")
    with Engine(program()) as engine:
        plain, with_rows = engine.submit(asked(TOKENS)), engine.submit(asked(tokens, given))
        for stream, request in ((plain, asked(tokens, given)), (with_rows, asked(TOKENS))):
            with pytest.raises(ZigAIError, match="fork: a prompt with embeddings shares nothing"):
                engine.fork(stream, request)
    at = DirectRunner(program(), 3)
    for tokens, given in (([1, -1], TABLE[:2]), ([1, 2], TABLE[:1]), ([-1, -1], TABLE[:1])):
        with pytest.raises(ShapeError, match="a part has embeddings, but not one for each of its tokens -1"):
            at.run([Part(at.new_sequence(), tokens, embeddings=given)])


def test_inputs_need_a_row_for_each_token_of_the_same_width() -> None:
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    with pytest.raises(ShapeError, match="embeddings stand in place of tokens, but wanted has wanted rows"):
        g.inputs(g.select(x))
    with pytest.raises(ShapeError, match="its input is 6 wide, and its output 5"):
        g.append(Inputs(Value("other", 5), x))
    with pytest.raises(ShapeError, match="has wanted rows"):
        g.append(Inputs(Value("other", WIDTH, WANTED), x))


def test_embeddings_of_two_widths_are_a_fault_of_the_architecture() -> None:
    g = GraphBuilder(TENSORS)
    x = g.inputs(g.embedding("token_embd", WIDTH))
    g.output("hidden", g.select(g.inputs(g.columns(x, 0, 3, name="part"), name="other")))
    with pytest.raises(PluginError, match=r"embeddings of several widths: \[3, 6\]"):
        g.finish().input_width  # noqa: B018 - it raises


def test_a_batch_whose_embeddings_do_not_fit_is_refused() -> None:
    executor = program().new_executor((1,))
    tokens = np.array([1, -1, 3], np.int32)
    places = np.arange(3, dtype=np.int32)
    for embeddings in (None, TABLE[:2], TABLE[:1, :5], TABLE[:1].astype(np.float64), [[0.0] * WIDTH]):
        batch = Batch(
            tokens,
            np.zeros(3, np.int32),
            places,
            places,
            (Pages([np.zeros(1, np.int32)]),),
            embeddings=embeddings,  # type: ignore[arg-type]
        )
        with pytest.raises(ShapeError, match=r"batch: embeddings must be|batch: token -1 is outside"):
            executor.run(batch, np.zeros(1, np.int32))
