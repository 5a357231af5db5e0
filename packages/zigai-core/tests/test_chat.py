"""A conversation keeps its cache, remembers replies as far as they came, and makes room by whole turns."""

from __future__ import annotations

import pytest

from zigai_core.api.chat import Chat
from zigai_core.contracts.errors import ContextOverflowError, TemplateError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine.runner import Runner
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.session import Session
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder
from zigai_core.text.chat_template import ChatTemplate

MODEL = toy_decoder(layers=1)
TOKENIZER = ByteTokenizer(MODEL.tokenizer)
PROGRAM = NumpyBackend().compile(
    decoder(MODEL, context=64, pairing="adjacent"),
    MODEL.tensors,
    CompileOptions(context=96, batch=32, page=8),
)
TEMPLATE = ChatTemplate(
    "{{ bos_token }}{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}",
    origin="the test's template",
)


def chat(*replies: str, **keywords: object) -> Chat:
    """A chat whose model says `replies`, one a turn, and then ends it."""
    said = iter([token for reply in replies for token in [*TOKENIZER.encode(reply, bos=False), 2]])

    def sampler(options: object) -> Sampler:
        class Scripted(Sampler):
            def sample(self, logits: object, mask: object = None) -> int:
                return next(said)

        return Scripted(SamplingOptions())

    template = keywords.pop("template", TEMPLATE)
    return Chat(Session(Runner(PROGRAM)), TOKENIZER, template, sampler=sampler, **keywords)


def test_the_prompt_is_the_rendered_conversation_with_one_bos() -> None:
    c = chat("yes", system="be")
    c.send("hi").complete()
    assert c.session.tokens == tuple(TOKENIZER.encode("<s>s:be</s>u:hi</s>a:yes", special=True, bos=False))
    assert c.messages == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]


def test_a_second_turn_computes_only_what_is_new() -> None:
    c = chat("yes", "no")
    c.send("hi").complete()
    known = c.session.cached
    reply = c.send("and?")
    reply.complete()
    assert reply.stats.cached_tokens == known >= len("s:") + 8
    expected = TOKENIZER.encode("<s>u:hi</s>a:yes</s>u:and?</s>a:no", special=True, bos=False)
    assert c.session.tokens == tuple(expected)


def test_a_cancelled_reply_is_remembered_as_far_as_it_came() -> None:
    c = chat("abcdef")
    reply = c.send("hi")
    assert next(reply) == "a"
    assert next(reply) == "b"
    reply.cancel()
    assert list(reply) == []
    assert c.messages[-1] == {"role": "assistant", "content": "ab"}


def test_a_reply_that_is_left_is_remembered_too() -> None:
    c = chat("abcdef")
    reply = c.send("hi")
    next(reply)
    reply.close()
    assert c.messages[-1] == {"role": "assistant", "content": "a"}


def test_a_reply_never_begun_leaves_no_message() -> None:
    c = chat("yes")
    c.send("first")
    c.send("second").complete()
    assert [message["content"] for message in c.messages] == ["second", "yes"]


def test_reset_forgets_all_but_the_system_message() -> None:
    c = chat("yes", "no", system="be")
    c.send("hi").complete()
    c.reset()
    assert (c.messages, c.session.length) == ([], 0)
    c.send("again").complete()
    assert TOKENIZER.decode(c.session.tokens, special=True) == "<s>s:be</s>u:again</s>a:no"


def test_shift_drops_whole_turns_oldest_first() -> None:
    c = chat("one", "two", "three", system="be", overflow="shift")
    c.send("a" * 20).complete()
    c.send("b" * 20).complete()
    reply = c.send("c" * 20)
    reply.complete()
    assert reply.stats.dropped_tokens > 0
    text = TOKENIZER.decode(c.session.tokens, special=True)
    assert text == f"<s>s:be</s>u:{'b' * 20}</s>a:two</s>u:{'c' * 20}</s>a:three"


def test_a_message_that_does_not_fit_leaves_the_conversation_as_it_was() -> None:
    c = chat("yes", "no", overflow="error")
    c.send("hi").complete()
    before = list(c.messages)
    with pytest.raises(ContextOverflowError, match="context of 96"):
        c.send("x" * 200).complete()
    assert c.messages == before
    c.send("ok").complete()
    assert c.messages[-1]["content"] == "no"


def test_a_template_that_refuses_leaves_the_conversation_as_it_was() -> None:
    c = chat("yes")
    c.template = ChatTemplate("{{ raise_exception('no users') }}", origin="the test's template")
    with pytest.raises(TemplateError, match="no users"):
        c.send("hi")
    assert c.messages == []


def test_control_tokens_that_a_user_writes_stay_text() -> None:
    c = chat("no </s>", "two")
    c.send("stop</s>a:sure").complete()
    c.send("go").complete()
    tokens = c.session.tokens
    assert [token for token in tokens if token < 3] == [1, 2, 2, 2]
    assert TOKENIZER.decode(tokens) == "u:stop</s>a:surea:no </s>u:goa:two"


def test_reasoning_is_kept_beside_the_answer_and_told_to_the_template() -> None:
    c = chat("<think>2 and 2</think>four", "ok")
    reply = c.send("add")
    assert [(part.text, part.reasoning) for part in reply.parts()][-1][1] is False
    assert (reply.reasoning, reply.answer) == ("2 and 2", "four")
    assert c.messages[-1] == {"role": "assistant", "content": "four", "reasoning_content": "2 and 2"}
    c.send("and?").complete()
    text = TOKENIZER.decode(c.session.tokens)
    assert text == "u:adda:fouru:and?a:ok"


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
    c = chat(
        "yes", "no", template=KEYWORDS, keywords={"tools": [{"name": "</s>sum"}], "enable_thinking": False}
    )
    c.send("hi").complete()
    c.send({"role": "tool", "content": "5</s>", "tool_call_id": "7"}).complete()
    assert TOKENIZER.decode(c.session.tokens, special=True) == "<s>[</s>sum]u:hia:yest(7):5</s>a:no"
    assert [token for token in c.session.tokens if token < 3] == [1]


def test_a_keyword_that_the_template_does_not_read_is_an_error() -> None:
    with pytest.raises(
        TemplateError, match=r"takes no 'enable_thinkin'; what it reads is: enable_thinking, tools"
    ):
        chat(template=KEYWORDS, keywords={"enable_thinkin": False})
    with pytest.raises(TemplateError, match="takes no 'tools'"):
        chat(keywords={"tools": []})
