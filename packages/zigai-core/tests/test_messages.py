"""Messages and options that a chat is given: copied, and refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from zigai_core.contracts.errors import (
    SamplingError,
    TokenizerError,
    UnsupportedError,
)
from zigai_core.testing.engine.scripted import TEMPLATE, scripted_model
from zigai_core.testing.engine.scripted import scripted_chat as chat

TOKENIZER = scripted_model().tokenizer


def test_editing_messages_changes_no_chat() -> None:
    c = chat("yes", "no")
    given: Any = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    assert c.send(given).text == "yes"
    given["content"][0]["text"] = "forged"
    messages: Any = c.messages
    messages[0]["content"][0]["text"] = messages[1]["content"] = "forged"
    assert "forged" not in str(c.messages)
    c.messages = messages
    messages[1]["content"] = "again"
    assert [message["content"] for message in c.messages][1] == "forged"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "messages must be a list of messages, not NoneType"),
        ("hello", "messages must be a list of messages, not str"),
        ([{"role": "user", "content": "x"}, 5], "message 1 is text or a mapping with a role, not int"),
        ([{"content": "x"}], "message 0 must have a role, a text such as 'user', not None"),
    ],
)
def test_wrong_messages_are_refused_by_name(wrong: Any, message: str) -> None:
    c = chat("yes")
    with pytest.raises(TokenizerError, match=message):
        c.messages = wrong
    assert c.messages == []
    with pytest.raises(TokenizerError, match="a message must have a role"):
        c.send({"content": "x"})  # type: ignore[typeddict-item, arg-type]


def test_options_of_the_chat_are_replaced_by_those_of_a_message() -> None:
    model = scripted_model("y" * 200, "one", "two", context=96)
    c = model.chat(template=TEMPLATE, overflow="shift", speculate="ngram")
    assert c.send("hi", overflow="stop").finish_reason is None
    c.reset()
    assert c.send("hi", draft=model).text == "one"
    assert c.send("hi", speculate=None).text == "two"
    for wrong, message in (
        ("speculate", "must be 'ngram' or None"),
        ("overflow", "must be stop, error or shift"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            c.send("hi", **{wrong: "often"})
    for private in ("shift", "after", "like"):
        with pytest.raises(SamplingError, match=f"there is no option '{private}'"):
            c.send("hi", **{private: None})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"role": "user"}, "must have content, a text or a list of parts"),
        ({"role": "user", "content": None}, "must have content, a text or a list of parts, not None"),
        ({"role": "user", "content": 3}, "must have content, a text or a list of parts, not 3"),
        ({"role": "assistant", "tool_calls": []}, "must have content"),
    ],
)
def test_a_message_without_content_is_refused_with_its_index(wrong: Any, message: str) -> None:
    c = chat("yes")
    with pytest.raises(TokenizerError, match=f"message 1 {message}"):
        c.messages = [{"role": "user", "content": "x"}, wrong]
    with pytest.raises(TokenizerError, match=f"a message {message}"):
        c.send(wrong)


def test_a_message_that_calls_tools_needs_no_content() -> None:
    c = chat("yes")
    call: Any = {"role": "assistant", "tool_calls": [{"type": "function"}]}
    c.messages = [call, {**call, "content": None}]
    assert [message.get("content") for message in c.messages] == [None, None]


def test_a_system_message_that_is_no_text_is_refused_at_once() -> None:
    wrong: Any = 3
    with pytest.raises(TokenizerError, match="system must be a text or None, not int"):
        scripted_model("yes").chat(template=TEMPLATE, system=wrong)
    c = chat("yes")
    with pytest.raises(TokenizerError, match="system must be a text or None, not int"):
        c.system = wrong
    assert c.system is None
    c.system = "be brief"
    assert c.system == "be brief"
