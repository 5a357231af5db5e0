"""A session computes only what is new, and whatever is done to it, it goes on like a fresh one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zigai_core.contracts.errors import ContextOverflowError, TokenizerError
from zigai_core.contracts.options import CompileOptions
from zigai_core.engine.runner import Runner
from zigai_core.engine.session import Session
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import toy_decoder

MODEL = toy_decoder(layers=1)
PROGRAM = NumpyBackend().compile(
    decoder(MODEL, context=64, pairing="adjacent"),
    MODEL.tensors,
    CompileOptions(context=48, batch=16, page=8),
)


def session(sequences: int = 1) -> Session:
    return Session(Runner(PROGRAM, sequences))


def fresh_logits(tokens: list[int]) -> np.ndarray:
    alone = session()
    alone.extend(tokens)
    return alone.logits()


def test_only_new_tokens_are_computed() -> None:
    s = session()
    s.extend([1, 2, 3])
    assert (s.length, s.cached) == (3, 0)
    s.logits()
    assert (s.length, s.cached) == (3, 3)
    s.extend([4])
    assert s.replace([1, 2, 9, 9]) == 2
    np.testing.assert_allclose(s.logits(), fresh_logits([1, 2, 9, 9]), atol=1e-5)


def test_logits_may_be_asked_for_twice() -> None:
    s = session()
    s.extend([1, 2, 3])
    np.testing.assert_allclose(s.logits(), s.logits(), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("extend"), st.lists(st.integers(0, 511), min_size=1, max_size=9)),
            st.tuples(st.just("rewind"), st.integers(0, 47)),
            st.tuples(st.just("replace"), st.lists(st.integers(0, 511), min_size=1, max_size=20)),
            st.tuples(st.just("drop"), st.integers(0, 10)),
            st.tuples(st.just("fork"), st.none()),
        ),
        max_size=12,
    )
)
def test_after_any_order_of_verbs_it_goes_on_like_a_fresh_one(verbs: list[tuple[str, object]]) -> None:
    s, expected = session(sequences=14), []
    for verb, argument in verbs:
        if verb == "extend" and len(expected) + len(argument) <= s.context:
            s.extend(argument)
            expected += argument
            s.logits()
        elif verb == "rewind":
            length = min(argument, len(expected))
            s.rewind(length)
            del expected[length:]
        elif verb == "replace":
            s.replace(argument)
            expected = list(argument)
        elif verb == "drop":
            start = min(argument, len(expected))
            count = min(3, len(expected) - start)
            s.drop(start, count)
            del expected[start : start + count]
        elif verb == "fork":
            s = s.fork()
        assert list(s.tokens) == expected
    if expected:
        np.testing.assert_allclose(s.logits(), fresh_logits(expected), atol=1e-5)


def test_tokens_beyond_the_context_are_refused_whole() -> None:
    s = session()
    s.extend([1] * 40)
    with pytest.raises(ContextOverflowError, match=r"40 \+ 9 tokens do not fit into a context of 48"):
        s.extend([1] * 9)
    with pytest.raises(ContextOverflowError, match=r"0 \+ 49 tokens"):
        s.replace([1] * 49)
    assert s.length == 40


@pytest.mark.parametrize("token", [-1, 512, 2**40])
def test_a_token_outside_the_vocabulary_is_named(token: int) -> None:
    with pytest.raises(TokenizerError, match=f"token {token} is outside the model's vocabulary of 512"):
        session().extend([3, token])


def test_a_closed_session_gives_its_pages_back() -> None:
    runner = Runner(PROGRAM)
    s = Session(runner)
    before = runner.pool.free_pages
    s.extend([1] * 30)
    s.logits()
    assert runner.pool.free_pages < before
    s.close()
    assert runner.pool.free_pages == before


def test_all_logits_has_a_row_for_each_new_token() -> None:
    s = session()
    tokens = list(range(40))
    s.extend(tokens)
    rows = s.all_logits()
    assert rows.shape == (40, 512)
    np.testing.assert_allclose(rows[11], fresh_logits(tokens[:12]), atol=1e-5)
