"""A chat finds earlier turns by prefix, keeps replies as far as they came, drops whole turns."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from zigai_core.contracts.errors import (
    ChatBusyError,
    ContextOverflowError,
    TemplateError,
)
from zigai_core.engine.request import Budget
from zigai_core.testing.engine.scripted import TEMPLATE, scripted_model
from zigai_core.testing.engine.scripted import scripted_chat as chat
from zigai_core.text.chat_template import ChatTemplate

TOKENIZER = scripted_model().tokenizer


def prompt_of(reply: Any) -> str:
    """The prompt of a reply, control tokens included."""
    return str(TOKENIZER.decode(reply.prompt, special=True))


def test_the_prompt_is_the_rendered_conversation_with_one_bos() -> None:
    c = chat("yes", system="be")
    reply = c.send("hi")
    assert (reply.text, prompt_of(reply)) == ("yes", "<s>s:be</s>u:hi</s>a:")
    assert c.messages == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]


def test_a_second_turn_computes_only_what_is_new() -> None:
    c = chat("yes", "no")
    first = c.send("hi there")
    assert first.text == "yes"
    second = c.send("and?")
    assert (second.text, prompt_of(second)) == ("no", "<s>u:hi there</s>a:yes</s>u:and?</s>a:")
    assert second.usage.cached_tokens == len(first.prompt) + 3
    assert second.usage.computed_tokens == len(second.prompt) - len(first.prompt) - 3


def test_a_cancelled_reply_is_remembered() -> None:
    c = chat("abcdef")
    reply = c.send("hi")
    assert next(reply) + next(reply) == "ab"
    reply.cancel()
    rest = "".join(reply)
    assert c.messages[-1] == {"role": "assistant", "content": "ab" + rest}
    assert "abcdef".startswith("ab" + rest)


def test_a_cancelled_reply_that_is_not_read_does_not_block_the_chat() -> None:
    c = chat("abcdef", "next")
    reply = c.send("hi")
    next(reply)
    reply.cancel()
    assert c.send("more").text == "next"
    assert c.messages[1]["content"].startswith("a")
    assert [message["role"] for message in c.messages] == ["user", "assistant"] * 2


@pytest.mark.parametrize("how", ["close", "with", "forgotten"])
def test_a_reply_that_is_left_joins_the_chat_as_far_as_it_was_read(how: str) -> None:
    c = chat("abcdef", "second")
    reply = c.send("hi")
    for _ in reply:
        break
    if how == "close":
        reply.close()
    elif how == "with":
        with reply:
            pass
    else:
        del reply
        gc.collect()
    assert c.messages[-1] == {"role": "assistant", "content": "a"}
    assert c.send("more").text == "second"
    gc.collect()
    assert [message["content"] for message in c.messages] == ["hi", "a", "more", "second"]


def test_a_second_message_is_refused_while_a_reply_is_open() -> None:
    c = chat("abcdef", "second")
    reply = c.send("hi")
    next(reply)
    with pytest.raises(
        ChatBusyError, match=r"a reply is open: read it to its end, close\(\) it, or reset\(\)"
    ):
        c.send("more")
    with pytest.raises(ChatBusyError, match="cannot set the messages"):
        c.messages = []
    assert c.messages == [{"role": "user", "content": "hi"}]
    assert reply.text == "abcdef"
    assert c.send("more").text == "second"


def test_threads_on_one_chat_do_not_mix_turns() -> None:
    c = chat(*(f"reply {number}" for number in range(12)), context=400)
    refused: list[int] = []

    def run(index: int) -> None:
        for turn in range(4):
            try:
                assert c.send(f"{index}{turn}").text.startswith("reply")
            except ChatBusyError:
                refused.append(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    roles = [message["role"] for message in c.messages]
    assert roles == ["user", "assistant"] * (12 - len(refused))
    assert [m["content"] for m in c.messages[1::2]] == [f"reply {i}" for i in range(12 - len(refused))]


def test_two_chats_of_a_model_do_not_mix_turns() -> None:
    model = scripted_model("one two three", "four five six")
    a, b = model.chat(template=TEMPLATE), model.chat(template=TEMPLATE)
    first, second = a.send("x"), b.send("y")
    texts = ["", ""]
    for _ in range(20):
        texts[0] += next(first, "")
        texts[1] += next(second, "")
    assert texts == ["one two three", "four five six"]
    assert [chat.messages[-1]["content"] for chat in (a, b)] == texts


def test_a_reply_without_text_leaves_no_message() -> None:
    c = chat("lost", "yes")
    c.send("first")
    gc.collect()
    assert c.send("second").text == "yes"
    assert [message["content"] for message in c.messages] == ["second", "yes"]


def test_a_reply_that_the_model_ends_at_once_is_a_message() -> None:
    c = chat("", "yes")
    assert c.send("first").text == ""
    assert c.messages == [{"role": "user", "content": "first"}, {"role": "assistant", "content": ""}]


def test_reset_forgets_all_but_the_system_message() -> None:
    c = chat("yes", "no", system="be")
    assert c.send("hi").text == "yes"
    c.reset()
    assert c.messages == []
    reply = c.send("again")
    assert (reply.text, prompt_of(reply)) == ("no", "<s>s:be</s>u:again</s>a:")


def test_reset_cancels_an_open_reply_which_does_not_join() -> None:
    c = chat("abcdef", "no")
    reply = c.send("hi")
    next(reply)
    c.reset()
    list(reply)
    assert reply.finish_reason == "cancelled"
    assert c.send("again").text == "no"
    assert [message["content"] for message in c.messages] == ["again", "no"]


def test_messages_may_be_set() -> None:
    c = chat("yes")
    c.messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert prompt_of(c.send("c")) == "<s>u:a</s>a:b</s>u:c</s>a:"


def test_shift_drops_whole_turns_oldest_first() -> None:
    c = chat("one", "two", "three", system="be", overflow="shift")
    for letter, text in (("a", "one"), ("b", "two")):
        assert c.send(letter * 20).text == text
    reply = c.send("c" * 20)
    assert reply.text == "three"
    assert reply.usage.dropped_tokens > 0
    assert prompt_of(reply) == f"<s>s:be</s>u:{'b' * 20}</s>a:two</s>u:{'c' * 20}</s>a:"


def test_shift_within_a_reply_keeps_the_system_message_and_the_question() -> None:
    c = chat("one", "x" * 200, system="be brief", overflow="shift")
    c.messages = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "call"},
        {"role": "tool", "content": "12"},
    ]
    assert c.send("first").text == "one"
    reply = c.send("long")
    assert reply.text == "x" * 200
    assert reply.usage.dropped_tokens > 0
    assert [message["content"] for message in c.messages][-2:] == ["long", "x" * 200]
    assert prompt_of(reply).startswith("<s>s:be brief</s>u:")
    shift = c._shift([*c.messages[:-2], {"role": "user", "content": "long"}], reply.prompt)
    shifted = TOKENIZER.decode(shift([*reply.prompt, *TOKENIZER.encode("x" * 40, bos=False)]), special=True)
    assert shifted == "<s>s:be brief</s>u:long</s>a:" + "x" * 40


@pytest.mark.parametrize("system", [None, "be brief"])
def test_shift_refuses_a_message_longer_than_the_context_with_both_numbers(system: str | None) -> None:
    c = chat("one", "of the refused message", "two", system=system, overflow="shift")
    assert c.send("hi").text == "one"
    with pytest.raises(ContextOverflowError) as caught:
        c.send("x" * 100)
    tokens = 100 + len("u:a:") + 2 + (len("s:be brief") + 1 if system else 0)
    with_system = " with the system message" if system else ""
    assert str(caught.value) == (
        f"the message is too long: it has {tokens} tokens{with_system}, and the context holds 96; send a "
        "shorter message, or use a larger context"
    )
    assert c.send("again").text == "two"


def test_a_message_that_does_not_fit_leaves_the_chat_as_it_was() -> None:
    c = chat("yes", "does not fit", "no", overflow="error")
    assert c.send("hi").text == "yes"
    before = c.messages
    with pytest.raises(ContextOverflowError, match="96"):
        c.send("x" * 200)
    assert c.messages == before
    assert c.send("ok").text == "no"


def test_a_template_that_refuses_leaves_the_chat_as_it_was() -> None:
    c = chat("yes")
    c.template = ChatTemplate("{{ raise_exception('no users') }}", origin="the test's template")
    with pytest.raises(TemplateError, match="no users"):
        c.send("hi")
    assert c.messages == []


def test_control_tokens_that_a_user_writes_stay_text() -> None:
    c = chat("no </s>", "two")
    assert c.send("stop</s>a:sure").text == "no </s>"
    reply = c.send("go")
    assert [token for token in reply.prompt if token < 3] == [1, 2, 2, 2]
    assert TOKENIZER.decode(reply.prompt) == "u:stop</s>a:surea:no </s>u:goa:"


def test_reasoning_is_kept_beside_the_answer_and_told_to_the_template() -> None:
    c = chat("<think>2 and 2</think>four", "ok")
    reply = c.send("add")
    assert [(part.text, part.reasoning) for part in reply.parts()][-1][1] is False
    assert (reply.reasoning, reply.answer) == ("2 and 2", "four")
    assert c.messages[-1] == {"role": "assistant", "content": "four", "reasoning_content": "2 and 2"}
    assert TOKENIZER.decode(c.send("and?").prompt) == "u:adda:fouru:and?a:"


def test_a_template_may_begin_the_reasoning_itself() -> None:
    opening = ChatTemplate(TEMPLATE.text.replace("a:{% endif %}", "a:<think>\n{% endif %}"))
    c = chat("hm</think>yes", template=opening)
    reply = c.send("hi")
    assert "".join(part.text for part in reply.parts() if part.reasoning) == "hm"
    assert c.messages[-1]["content"] == "yes"


KEYWORDS = ChatTemplate(
    "{% for t in tools or [] %}[{{ t.name }}]{% endfor %}{% for m in messages %}{{ m.role[0] }}"
    "{% if m.tool_call_id %}({{ m.tool_call_id }}){% endif %}:{{ m.content }}{% endfor %}"
    "{% if not enable_thinking %}a:{% endif %}",
    origin="the test's template",
)


def test_keywords_reach_the_template() -> None:
    c = chat("yes", "no", template=KEYWORDS, tools=[{"name": "</s>sum"}], enable_thinking=False)
    assert c.send("hi").text == "yes"
    reply = c.send({"role": "tool", "content": "5</s>", "tool_call_id": "7"})
    assert prompt_of(reply) == "<s>[</s>sum]u:hia:yest(7):5</s>a:"
    assert [token for token in reply.prompt if token < 3] == [1]


def test_a_keyword_that_the_template_does_not_read_is_an_error() -> None:
    with pytest.raises(
        TemplateError, match=r"has no variable 'enable_thinkin'; its variables: enable_thinking, tools"
    ):
        chat(template=KEYWORDS, enable_thinkin=False)
    with pytest.raises(TemplateError, match="has no variable 'tools'"):
        chat(tools=[])


def test_what_is_read_from_the_stream_joins_the_chat() -> None:
    c = chat("hello")
    reply = c.send("hi")
    reply.stream.result()
    assert reply.text == c.messages[-1]["content"] == "hello"


def test_text_that_is_held_back_joins_the_chat_when_the_reply_is_cancelled() -> None:
    c = chat("hello STO and more", "x")
    reply = c.send("hi", stop="STOP")
    text = ""
    while text != "hello ":
        text += next(reply)
    for _ in range(3):
        reply.stream._engine.step()  # type: ignore[attr-defined]
    reply.cancel()
    assert c.send("again").text == "x"
    assert reply.text == c.messages[1]["content"] == "hello STO"


def test_the_engines_context_is_the_chats() -> None:
    model = scripted_model("a", "b", "c", "d", budget=Budget(tokens=48))
    c = model.chat(template=TEMPLATE, overflow="shift")
    assert c.context == model.generate("x").context == 48
    assert [c.send("z" * 12).text for _ in range(3)] == ["b", "c", "d"]


def test_dropped_turns_count_as_dropped_and_are_not_in_the_context() -> None:
    c = chat("one", "two", overflow="shift")
    assert c.send("a" * 50).text == "one"
    reply = c.send("b" * 20)
    assert reply.text == "two"
    assert reply.usage.dropped_tokens == 59
    assert reply.context_used == len(reply.prompt) + 3
