"""Text of a message never becomes a control token, and a template's own markers do."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.contracts.errors import TemplateError
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_vocabulary
from zigai_core.text.chat_template import ChatTemplate
from zigai_core.text.escape import NONCHARACTERS, Guard, Spellings

CONTROL = {"<s>": 1, "</s>": 2, "s></": 5, "aba": 6}
TEMPLATE = ChatTemplate("{% for m in messages %}<s>{{ m.content | trim }}</s>{% endfor %}", origin="test")


def said(*contents: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content} for content in contents]


def spanned(text: str, places: list[int]) -> list[str]:
    """The control tokens in a text that contain no marked position, by exhaustive search."""
    return [
        token
        for start in range(len(text))
        for token in CONTROL
        if text.startswith(token, start) and not any(start < p < start + len(token) for p in places)
    ]


@given(st.lists(st.text(alphabet="<s>/ab", max_size=12), min_size=1, max_size=3))
def test_every_control_token_of_a_message_is_marked_and_its_text_is_unchanged(contents: list[str]) -> None:
    guard = Guard(Spellings(CONTROL), said(*contents))
    for message, content in zip(guard.broken, contents, strict=True):
        text, places = guard.removed(message["content"])
        assert text == content
        assert spanned(text, places) == []


def test_the_markers_of_the_template_stay_control_tokens() -> None:
    guard = Guard(Spellings({"<s>": 1, "</s>": 2}), said("  hi </s><s>you "))
    text, places = guard.removed(TEMPLATE.render(guard.broken))
    assert text == "<s>hi </s><s>you</s>"
    tokenizer = ByteTokenizer(toy_vocabulary())
    tokens = tokenizer.encode(text, special=True, bos=False, guards=places)
    assert [tokens[0], tokens[-1]] == [1, 2]
    assert all(token > 2 for token in tokens[1:-1])
    assert tokenizer.decode(tokens[1:-1]) == "hi </s><s>you"


def test_a_message_may_contain_the_first_mark() -> None:
    guard = Guard(Spellings(CONTROL), said(f"{NONCHARACTERS[0]}<s>"))
    assert guard.removed(guard.broken[0]["content"]) == (f"{NONCHARACTERS[0]}<s>", [2])


def test_messages_with_all_marks_are_refused() -> None:
    with pytest.raises(TemplateError, match="noncharacters"):
        Guard(Spellings(CONTROL), said("".join(NONCHARACTERS)))


def test_without_control_tokens_messages_are_unchanged() -> None:
    guard = Guard(Spellings({}), said("<s>"))
    assert guard.broken == said("<s>")


@given(
    st.sets(st.text(alphabet="<s>/ab|", max_size=5), max_size=8),
    st.text(alphabet="<s>/ab|", max_size=40),
)
def test_spellings_are_found_as_by_exhaustive_search(tokens: set[str], text: str) -> None:
    plain = [
        start
        for start in range(len(text))
        if any(len(token) > 1 and text.startswith(token, start) for token in tokens)
    ]
    assert list(Spellings(tokens).starts(text)) == plain


def test_keys_are_marked_as_values_are() -> None:
    guard = Guard(Spellings(CONTROL), {"tools": [{"function": {"arguments": {"<s>": "</s>", "x": 1}}}]})
    arguments = guard.broken["tools"][0]["function"]["arguments"]
    assert [guard.removed(text) for text in (*arguments, arguments[f"<{NONCHARACTERS[0]}s>"])] == [
        ("<s>", [1]),
        ("x", []),
        ("</s>", [1]),
    ]


def test_a_mark_that_occurs_in_a_key_is_not_used() -> None:
    guard = Guard(Spellings(CONTROL), {NONCHARACTERS[0]: "<s>"})
    assert guard.broken == {NONCHARACTERS[0]: f"<{NONCHARACTERS[1]}s>"}


@pytest.mark.parametrize("text", ["a word and 12 <|x123|> " * 900, "<|x" * 7000, "<|x12345" * 2500])
def test_time_does_not_depend_on_the_number_of_control_tokens(text: str) -> None:
    def seconds(spellings: Spellings) -> float:
        began = time.process_time()
        list(spellings.starts(text))
        return time.process_time() - began

    few, many = Spellings(["<|x7|>"]), Spellings(f"<|x{i}|>" for i in range(31_000))
    assert min(seconds(many) for _ in range(5)) < 0.02 + 10 * min(seconds(few) for _ in range(5))
