"""Reasoning at the start of a reply is separated from the answer, however the reply is cut into pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.text.reasoning import Part, ReasoningStream, shown_tokens, split_reasoning

REPLIES = [
    ("<think>easy</think>Four.", False, "easy", "Four."),
    ("\n<think>\n a < b\n\n</think>\n\n Four. ", False, "a < b", "Four."),
    ("easy</think>Four.", True, "easy", "Four."),
    ("<think>never done </thi", False, "never done </thi", ""),
    ("never done", True, "never done", ""),
    ("<think></think>\n\nFour.", False, "", "Four."),
    ("Four. <think>not at the start</think>", False, "", "Four. <think>not at the start</think>"),
    ("<thin air>", False, "", "<thin air>"),
    ("<thi", False, "", "<thi"),
    ("", False, "", ""),
    ("<|channel>thought\neasy\n<channel|>Four.", False, "easy", "Four."),
    ("<|channel>thought\n<channel|>Four.", False, "", "Four."),
    ("<|channel>thought\na </think> b <channel", False, "a </think> b <channel", ""),
    ("<|channel>other\nFour.", False, "", "<|channel>other\nFour."),
    ("<|channel>", False, "", "<|channel>"),
    ("<think>a<channel|>b</think>Four.", False, "a<channel|>b", "Four."),
    ("a</think>b</think>c", True, "a", "b</think>c"),
]


@pytest.mark.parametrize(("reply", "begun", "reasoning", "answer"), REPLIES)
def test_reasoning_and_answer_are_separated(reply: str, begun: bool, reasoning: str, answer: str) -> None:
    assert split_reasoning(reply, begun=begun) == (reasoning, answer)


@pytest.mark.parametrize(("reply", "begun", "reasoning", "answer"), REPLIES)
def test_single_characters_give_the_same_as_the_whole(
    reply: str, begun: bool, reasoning: str, answer: str
) -> None:
    stream = ReasoningStream(begun=begun)
    parts = [part for piece in reply for part in stream.push(piece)] + list(stream.finish())
    for wanted, text in ((True, reasoning), (False, answer)):
        assert "".join(part.text for part in parts if part.reasoning is wanted).strip() == text


@given(st.text(alphabet="<>/think \n", max_size=60), st.booleans(), st.lists(st.integers(0, 60), max_size=8))
def test_the_result_does_not_depend_on_how_a_reply_is_cut(text: str, begun: bool, cuts: list[int]) -> None:
    stream = ReasoningStream(begun=begun)
    places = [0, *sorted(cuts), len(text)]
    parts = [p for a, b in itertools.pairwise(places) for p in stream.push(text[a : max(a, b)])]
    parts += stream.finish()
    joined = [
        "".join(part.text for part in parts if part.reasoning is wanted).strip() for wanted in (True, False)
    ]
    assert tuple(joined) == split_reasoning(text[: max(places)], begun=begun)


def test_an_answer_is_returned_at_once() -> None:
    stream = ReasoningStream()
    assert list(stream.push("Fo")) == [Part("Fo", reasoning=False)]
    assert list(stream.push("ur ")) == [Part("ur ", reasoning=False)]
    assert list(stream.finish()) == []


def test_reasoning_is_returned_at_once_except_what_may_be_the_closing_marker() -> None:
    stream = ReasoningStream()
    assert list(stream.push("<think>one ")) == [Part("one", reasoning=True)]
    assert list(stream.push("two</")) == [Part(" two", reasoning=True)]
    assert list(stream.push("b>")) == [Part("</b>", reasoning=True)]


def test_markers_of_gemma_4_are_shown_if_a_model_has_its_channels() -> None:
    markers = {"<|channel>": 1, "<channel|>": 2, "<|tool_call>": 3, "<tool_call|>": 4, '<|"|>': 5}
    others = {"<turn|>": 6, "<|tool_response>": 7}
    assert shown_tokens({**markers, **others}) == {1, 2, 3, 4, 5}
    for marker in ("<|channel>", "<channel|>"):
        assert shown_tokens({key: token for key, token in markers.items() if key != marker}) == frozenset()
    assert shown_tokens({"<|channel|>": 1, "<|message|>": 2}) == {1, 2}
