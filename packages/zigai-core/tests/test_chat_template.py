from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import datetime
from typing import Any

import pytest

from zigai_core.contracts.errors import TemplateError
from zigai_core.text import budget
from zigai_core.text.chat_template import ChatTemplate, Message
from zigai_core.text.chat_templates import CHATML, LLAMA2, LLAMA3, MISTRAL, ZEPHYR

SYSTEM: Message = {"role": "system", "content": "Be brief."}
FIRST: Message = {"role": "user", "content": "Hello"}
REPLY: Message = {"role": "assistant", "content": "Hi!"}
SECOND: Message = {"role": "user", "content": "Bye"}


def render(text: str, *messages: Message, **keywords: Any) -> str:
    return ChatTemplate(text, "a test's template").render(messages, **keywords)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            CHATML,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
            "<|im_start|>assistant\nHi!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            LLAMA2,
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST] Hi! </s><s>[INST] Bye [/INST]",
        ),
        (
            LLAMA3,
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (MISTRAL, "<s>[INST] Be brief.\n\nHello [/INST] Hi!</s>[INST] Bye [/INST]"),
        (
            ZEPHYR,
            "<|system|>\nBe brief.</s>\n<|user|>\nHello</s>\n<|assistant|>\nHi!</s>\n<|user|>\nBye</s>\n"
            "<|assistant|>\n",
        ),
    ],
    ids=["chatml", "llama2", "llama3", "mistral", "zephyr"],
)
def test_a_registered_template_writes_its_format(text: str, expected: str) -> None:
    assert render(text, SYSTEM, FIRST, REPLY, SECOND, bos_token="<s>", eos_token="</s>") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CHATML, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi!<|im_end|>\n"),
        (LLAMA2, "<s>[INST] Hello [/INST] Hi! </s>"),
        (
            LLAMA3,
            "<s><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|>",
        ),
        (MISTRAL, "<s>[INST] Hello [/INST] Hi!</s>"),
        (ZEPHYR, "<|user|>\nHello</s>\n<|assistant|>\nHi!</s>\n"),
    ],
    ids=["chatml", "llama2", "llama3", "mistral", "zephyr"],
)
def test_without_a_generation_prompt_a_reply_ends_the_text(text: str, expected: str) -> None:
    options: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": False}
    assert render(text, FIRST, REPLY, **options) == expected


@pytest.mark.parametrize("text", [LLAMA2, MISTRAL])
def test_a_role_that_the_format_lacks_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match="has no role tool"):
        render(text, FIRST, {"role": "tool", "content": "4"})


def test_blocks_take_their_line_with_them_as_at_hugging_face() -> None:
    text = "{% for m in messages %}\n    {% if true %}\n{{ m['content'] }}\n    {% endif %}\n{% endfor %}\n"
    assert render(text, FIRST, SECOND) == "Hello\nBye\n"


def test_tojson_keeps_other_scripts_and_html() -> None:
    value = {"b": "<é>", "a": [1, None, True]}
    assert render("{{ x | tojson }}", x=value) == '{"b": "<é>", "a": [1, null, true]}'
    assert render("{{ x | tojson(indent=2) }}", x=value) == json.dumps(value, ensure_ascii=False, indent=2)
    assert render("{{ x | tojson(sort_keys=true) }}", x={"b": 1, "a": 2}) == '{"a": 2, "b": 1}'


def test_break_and_continue() -> None:
    first = "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
    assert render(first + "{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "023"


def test_blocks_may_be_empty() -> None:
    text = "{% if x %}{# nothing #}{% elif y %}{% else %}{% endif %}{% for i in [1] %}{% endfor %}"
    assert render(text + "{% macro m() %}{% endmacro %}{{ m() }}.") == "."


def test_generation_marks_change_nothing() -> None:
    assert render("a{% generation %}b{{ 1 }}{% endgeneration %}c") == "ab1c"


def test_strftime_now_gives_the_time() -> None:
    assert render("{{ strftime_now('%Y') }}") in {str(datetime.now().year), str(datetime.now().year - 1)}


def test_keywords_are_variables_and_tools_are_none_without_any() -> None:
    assert render("{{ x }} {{ tools is none }} {{ documents is none }}", x=3) == "3 True True"
    assert render("{{ tools[0].name }}", tools=[{"name": "clock"}]) == "clock"


def test_common_features_of_templates_work() -> None:
    text = """\
{%- macro turn(m, end='.') %}{{ m.role | upper }}: {{ m.content | trim }}{{ end }}{% endmacro %}
{%- set ns = namespace(count=0, last=none) %}
{%- set users = messages | selectattr('role', 'equalto', 'user') | list %}
{%- for m in messages if m.role != 'system' %}
{%- set ns.count = ns.count + 1 %}{% set ns.last = m.content.split('l')[0] %}
{{- turn(m, end='!' if loop.last else ';') }}
{%- endfor %}
{{- ns.count ~ ' ' ~ ns.last }} {{ users | length }} {{ messages[::-1][0]['content'] }}
{{- ' %s|%03d' % ('x', 7) }} {{ '{:>4}'.format('r') }} {{ 'a-b'.replace('-', '+') }} {{ [1, 2] + [3] }}
{{- ' ' + (messages | map(attribute='role') | join(', ')) }}
{{- ' ' ~ 2 ** 10 }} {{ 'ab' * 2 }} {{ 3.14159 | round(2) }}
"""
    assert render(text, SYSTEM, FIRST, REPLY) == (
        "USER: Hello;ASSISTANT: Hi!!2 Hi! 1 Hi! x|007    r a+b [1, 2, 3] system, user, assistant"
        " 1024 abab 3.14"
    )


def test_invalid_jinja_is_an_error_with_origin_and_line() -> None:
    with pytest.raises(TemplateError, match=r"^a test's template, line 3: .*endfor"):
        render("a\n{% for x in y %}\nb")


def test_a_failing_expression_is_an_error_with_origin_and_line() -> None:
    with pytest.raises(
        TemplateError, match=r"^a test's template, line 3: 'dict object' has no attribute 'b'$"
    ):
        render("a\n\n{{ x.b.c }}\n\n{{ x }}", x={})


def test_raise_exception_gives_the_message_of_the_template() -> None:
    with pytest.raises(
        TemplateError, match=r"^a test's template, line 1: refuses these messages: Roles must"
    ):
        render("{{ raise_exception('Roles must alternate') }}")


def test_a_template_may_be_rendered_by_several_threads() -> None:
    template = ChatTemplate(CHATML)
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(template.render([FIRST]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert len(results) == 8


@pytest.fixture
def without_limit_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the limits on work and memory, which are the same on every machine."""
    monkeypatch.setattr(budget, "SECONDS", 1000)


@pytest.mark.usefixtures("without_limit_on_time")
def test_a_conversation_of_10_million_characters_is_rendered() -> None:
    messages: list[Message] = [{"role": "user", "content": "word " * 2_000_000}]
    messages += [FIRST, REPLY] * 500
    assert len(ChatTemplate(LLAMA3).render(messages)) > 10_000_000


@pytest.mark.usefixtures("without_limit_on_time")
def test_each_of_1000_messages_may_filter_all_messages() -> None:
    text = (
        "{% for m in messages %}{% set users = messages | selectattr('role', 'equalto', 'user') | list %}"
        "{% for part in m.content.split(' ') %}{{ part | trim }}{% endfor %}{{ users | length }}{% endfor %}"
    )
    messages: list[Message] = [{"role": "user", "content": "word " * 200}, REPLY] * 500
    assert len(ChatTemplate(text).render(messages)) == 500 * (800 + 3 + 3 + 3)


@pytest.mark.usefixtures("without_limit_on_time")
def test_a_text_may_be_accumulated_over_300_messages() -> None:
    text = (
        "{% set ns = namespace(text='') %}"
        "{% for m in messages %}{% set ns.text = ns.text + m.content + '\n' %}{% endfor %}{{ ns.text }}"
    )
    messages: list[Message] = [{"role": "user", "content": "word " * 200}] * 300
    assert len(ChatTemplate(text).render(messages)) == 300 * 1001


PARTS: Message = {
    "role": "user",
    "content": [{"type": "text", "text": "one"}, {"type": "text", "text": " two "}],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{% for p in messages[0].content %}[{{ p.text }}]{% endfor %}", "[one][ two ]"),
        ("{{ '<' + messages[0].content + '>' }}", "<one\n two >"),
        ("{{ messages[0].content | trim }}.", "one\n two."),
        ("{{ messages[0].content is string }}", "True"),
        (
            "{% set c = messages[0].content %}{{ c.split('\\n')[1] ~ c }}{{ 'two' in c }}",
            " two one\n two True",
        ),
        # Templates that read `text` of something, and need the content as a string:
        ("{{ '<' + messages[0].content + '>' }}{{ x.text }}", "<one\n two >"),
        ("{{ messages[0].content ~ '>' }}{{ x.text }}", "one\n two >"),
        ("{{ messages[0].content }}{{ x.text }}{{ messages[0].content.strip() }}", "one\n two one\n two"),
        ("{% if messages[0].content is not string %}{{ raise_exception('no') }}{% endif %}{{ x.text }}", ""),
        # Templates that read `text` of documents only, or of nothing:
        (
            "{% for d in documents %}{{ d.text }}{% endfor %}{{ messages[0].content | tojson }}",
            '"one\\n two "',
        ),
        ("{{ messages[0].content is string and 'title' in ['title', 'text'] }}", "True"),
        # Templates that read `text` without a loop:
        ("{{ messages[0].content | map(attribute='text') | join('+') }}", "one+ two "),
        ("{{ messages[0].content[0].get('text') }}{{ messages[0].content[1]['text'] }}", "one two "),
    ],
)
def test_text_parts_are_joined_where_a_template_wants_a_string(text: str, expected: str) -> None:
    assert render(text, PARTS, x={}, documents=[{"text": ""}]) == expected


def test_parts_that_are_not_all_text_are_passed_unchanged() -> None:
    message: Message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "one"}]}
    assert render("{% for p in messages[0].content %}{{ p.type }} {% endfor %}", message) == "image text "


def test_reasoning_is_passed_under_both_names() -> None:
    message: Message = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}
    assert render("{{ messages[0].thinking }}={{ messages[0].reasoning_content }}", message) == "2 + 2=2 + 2"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ x.update({}) }}",
        "{{ ('%s' | attr('__class__'))() }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(x) }}",
        "{{ '{0.__class__}'.format_map(x) }}",
        "{{ raise_exception.__globals__['x'] }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{{ 'a'.encode() }}",
        "{{ 1 .to_bytes(3, 'big') }}",
        "{{ lipsum() }}",
        "{% autoescape true %}{% endautoescape %}",
    ],
)
def test_nothing_of_python_can_be_reached(text: str) -> None:
    with pytest.raises(TemplateError):
        render(text, FIRST, x={})


def test_core_does_not_import_jinja_before_a_template_is_rendered() -> None:
    script = (
        "import sys, zigai_core, zigai_core.text.chat_template, zigai_core.text.chat_templates\n"
        "zigai_core.text.chat_template.ChatTemplate('x')\nprint('jinja2' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_the_filter_replace_takes_numbers_as_text() -> None:
    assert ChatTemplate("{{ 2021 | replace(1, 5) }}{{ 'aa' | replace('a', 'b', 1) }}").render([]) == "2025ba"


def test_a_variable_with_a_default_is_one_in_a_macro_too() -> None:
    text = (
        "{% macro one(tools) %}{{ tools }}{{ two() }}{% endmacro %}"
        "{% macro two() %}{% if effort is not defined %}{% set effort = 'low' %}{% set a = 1 %}{% endif %}"
        "{{ effort }}{{ own }}{{ a }}{% endmacro %}{% set own = 1 %}{% set date = date or 'today' %}"
        "{{ one(tools) }}{{ two() }}{{ date }}"
    )
    template = ChatTemplate(text)
    assert template.variables == {"tools", "effort", "date"}
    assert template.render([], tools=5, effort="high", date="now") == "5high1high1now"
    assert ChatTemplate("{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1) }}").variables == set()


def test_names_of_jinja_itself_are_no_variables_of_a_template() -> None:
    text = (
        "{% macro m() %}{{ caller() }}{{ varargs }}{{ kwargs }}{% endmacro %}"
        "{% for x in messages %}{{ loop.index }}{{ range(2) }}{{ mood }}{% endfor %}"
    )
    assert ChatTemplate(text).variables == {"messages", "mood"}
