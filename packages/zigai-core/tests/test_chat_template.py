from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import tracemalloc
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


def test_the_time_is_told() -> None:
    assert render("{{ strftime_now('%Y') }}") in {str(datetime.now().year), str(datetime.now().year - 1)}


def test_keywords_are_variables_and_tools_are_none_without_any() -> None:
    assert render("{{ x }} {{ tools is none }} {{ documents is none }}", x=3) == "3 True True"
    assert render("{{ tools[0].name }}", tools=[{"name": "clock"}]) == "clock"


def test_usual_means_of_templates_work() -> None:
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


def test_what_is_no_jinja_is_an_error_with_origin_and_line() -> None:
    with pytest.raises(TemplateError, match=r"^a test's template, line 3: .*endfor"):
        render("a\n{% for x in y %}\nb")


def test_what_fails_is_an_error_with_origin_and_line() -> None:
    with pytest.raises(
        TemplateError, match=r"^a test's template, line 3: 'dict object' has no attribute 'b'$"
    ):
        render("a\n\n{{ x.b.c }}\n\n{{ x }}", x={})


def test_a_template_that_refuses_the_messages_says_why() -> None:
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


def test_a_long_conversation_is_no_offence() -> None:
    messages: list[Message] = [{"role": "user", "content": "word " * 2_000_000}]
    messages += [FIRST, REPLY] * 500
    assert len(ChatTemplate(LLAMA3).render(messages)) > 10_000_000


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


LOOP = "{% for i in range(100000) %}"
END = "{% endfor %}"


def doubling(start: str, grow: str) -> str:
    """A template that makes `ns.x` of itself many times over."""
    return "{% set ns = namespace(x=" + start + ") %}" + LOOP + "{% set ns.x = " + grow + " %}" + END


LONG = "{% set t = 'a' * 900000 %}"
NUMBERS = "{% set x = range(60000) | list %}{% set y = range(60000) | list %}"
ENDLESS = {
    "nested loops": LOOP * 4 + END * 4,
    "loops that only filter": "{% set r = range(100000) %}" + "{% for i in r if not r %}{% endfor %}" * 300,
    "a recursive loop": "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "a recursive macro": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "an exponential macro": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}"
    "{% endmacro %}{{ m(60) }}",
    "a recursive block": "{% block a %}{{ self.a() }}{% endblock %}",
    "a chain of lazy filters": "{{ range(100000)" + " | map('string')" * 400 + " | list }}",
    "lazy filters over a long text": LONG
    + "{{ t"
    + " | select('none')" * 40
    + " }}"
    + "{{ t | select('none') | list }}" * 40,
    "comparisons of long texts": "{% set a = 'a' * 900000 %}{% set b = a ~ '' %}"
    + "{{ a ~ 'x' == b ~ 'x' }}" * 500,
    "much text": LOOP + "0123456789abcdef" + END,
    "much text in a macro": "{% macro m() %}"
    + LOOP
    + "0123456789abcdef"
    + END
    + "{% endmacro %}{% set x = m() %}",
    "much text in a set block": "{% set x %}" + LOOP + "0123456789abcdef" + END + "{% endset %}",
    "a text that doubles by +": doubling("'a'", "ns.x + ns.x"),
    "a text that doubles by ~": doubling("'a'", "ns.x ~ ns.x"),
    "a text that doubles by %": doubling("'a'", "'%s%s' % (ns.x, ns.x)"),
    "a text that doubles by format": doubling("'a'", "'{0}{0}'.format(ns.x)"),
    "a text that doubles by replace": doubling("'a'", "ns.x.replace('a', 'aa')"),
    "a text that doubles by the filter replace": doubling("'a'", "ns.x | replace('a', 'aa')"),
    "a text that doubles by join": doubling("'a'", "ns.x.join([ns.x, ns.x, ns.x])"),
    "a text that doubles by escaping": doubling("'&'", "ns.x | e ~ ns.x"),
    "a text that doubles by tojson": doubling("'\"'", "ns.x | tojson"),
    "a list that doubles": doubling("[1]", "ns.x + ns.x"),
    "a list in lists": doubling("[1]", "[ns.x, ns.x]"),
    "a list in tuples": doubling("[1]", "(ns.x, ns.x)"),
    "a dict in dicts": doubling("{}", "{1: ns.x, 2: ns.x}"),
    "a dict's views": doubling("{}", "{1: ns.x, 2: ns.x}.items()"),
    "a list by the filters": doubling("[1]", "[[ns.x], [ns.x]] | map('list') | list"),
    "keyword arguments": LONG + "{% macro m() %}{{ kwargs }}{% endmacro %}{{ m(a=t, b=t, c=t, d=t) }}",
    "a namespace in itself": "{% set ns = namespace() %}{% set ns.a = [ns, ns] %}{{ ns.a | tojson }}",
    "a number that grows by *": doubling("3", "ns.x * ns.x"),
    "a number that grows by +": doubling("3", "ns.x + ns.x"),
    "a power": "{{ 10 ** (10 ** 10) }}",
    "a power of powers": "{{ (2 ** 4094) ** 9 }}",
    "a long text by *": "{{ 'a' * 10 ** 9 }}",
    "a long list by *": "{{ 10 ** 8 * [1] }}",
    "a wide %": "{{ '%1000000000d' % 1 }}",
    "a wide % by an argument": "{{ '%*d' % (1000000000, 1) }}",
    "a precise %": "{{ '%.1000000000f' % 1 }}",
    "a wide % by the filter": "{{ '%1000000000d' | format(1) }}",
    "a wide format": "{{ '{:1000000000}'.format(1) }}",
    "a wide format by an argument": "{{ '{:{}}'.format(1, 1000000000) }}",
    "padding": "{{ 'a'.ljust(10 ** 9) }}",
    "centring": "{{ 'a'.center(10 ** 9) }}",
    "zeros": "{{ 'a'.zfill(10 ** 9) }}",
    "an indent": "{{ ('\\n' * 900000) | indent(900000) }}",
    "an indent by a text": "{{ ('\\n' * 900000) | indent('a' * 900000) }}",
    "an indent of JSON": "{{ [1] | tojson(indent=10 ** 9) }}",
    "a rounding": "{{ 1.5 | round(10 ** 9, 'ceil') }}",
    "a number out of digits": "{{ ('9' * 900000) | int }}",
    "a sum of lists": "{% set x = [[1] * 9000] * 5 %}{{ (x * 1) | sum(start=[]) }}",
    "a large range": "{{ range(10 ** 10) | list }}",
    "a format of times": "{{ strftime_now('%A' * 400000) }}",
    "a long replacement": LONG + "{{ t.replace('a', 'b' * 500) }}",
    "a long replacement by the filter": LONG + "{{ t | replace('a', 'b' * 500) }}",
    "a long join": LONG + "{{ t.join(['a'] * 500) }}",
    "a long join by the filter": LONG + "{{ ['a'] * 500 | join(t) }}",
    "a long format": LONG + "{{ '" + "{0}" * 500 + "'.format(t) }}",
    "a long list as text": LONG + "{{ [" + "t, " * 500 + "] | string }}",
    "a long tuple as text": LONG + "{{ (" + "t, " * 500 + ") | string }}",
    "a long dict as text": LONG + "{{ {" + "".join(f"{i}: t, " for i in range(500)) + "} | string }}",
    "views as text": LONG + "{% set d = {1: t} %}{{ ([d.items()] * 500) | string }}",
    "arguments as text": LONG
    + "{% macro m() %}{{ kwargs | string }}{% endmacro %}{{ m("
    + ", ".join(f"a{i}=t" for i in range(250))
    + ") }}",
    "namespaces as text": "{% set n = namespace() %}"
    + "".join(f"{{% set n{i} = namespace(a=n{i - 1 or ''}, b=n{i - 1 or ''}) %}}" for i in range(1, 40))
    + "{{ n39 }}{{ 1 / 0 }}",
    "comparisons in one expression": NUMBERS + "{{ [" + "x == y, " * 3000 + "] }}",
    "tests in one expression": NUMBERS + "{{ [" + "-1 is in x, " * 3000 + "] }}",
    "calls in one expression": NUMBERS + "{{ [" + "x.count(-1), " * 3000 + "] }}",
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep lists": "{{ " + "[" * 500 + "]" * 500 + " }}",
    "deep blocks": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "a long chain": "{{ 1" + " + 1" * 5000 + " }}",
    "a long source": "a" * 200_000,
    "a dense source": "{{f(1)}}" * 6_000,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_that_never_ends_or_outgrows_all_is_stopped_soon(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "WORK", 100_000_000)
    began = time.process_time()
    with pytest.raises(TemplateError, match=r"^a test's template"):
        render(ENDLESS[name])
    assert time.process_time() - began < 2.5


@pytest.mark.parametrize("name", [name for name in ENDLESS if not name.startswith("a dense")])
def test_a_template_never_takes_much_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "WORK", 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            render(ENDLESS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000_000


@pytest.mark.parametrize(
    "text",
    [
        LONG + "".join(f"{{% set a{i} = t ~ '' %}}" for i in range(100)),
        LONG + "".join(f"{{% set a{i} %}}{{{{ t }}}}{{% endset %}}" for i in range(100)),
        LONG + "{{ [" + "t[::-1], " * 100 + "] }}",
        LONG + "{{ [" + "t | upper, " * 100 + "] }}",
        LONG + "{% macro m() %}{% endmacro %}{{ m(" + "t * 1, " * 100 + ") }}",
    ],
    ids=["variables", "set blocks", "slices", "a list", "arguments"],
)
def test_many_values_that_are_too_large_together_are_stopped(text: str) -> None:
    with pytest.raises(TemplateError, match=r"makes more than 5[0-9]{7} characters in all"):
        render(text)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("nested loops", "takes more than 0.5 seconds"),
        ("a number that grows by *", "makes a number of more than 4096 bits"),
        ("a number that grows by +", "makes a number of more than 4096 bits"),
        ("a power", "makes a number of more than 4096 bits"),
        ("a format of times", "asks for the time in a format of more than 200 characters"),
        ("a recursive macro", "nests too deeply"),
        ("padding", "makes something larger than 1001076 characters"),
        ("a wide %", "a format is wider than 999 characters"),
    ],
)
def test_what_was_stopped_says_why(name: str, what: str) -> None:
    with pytest.raises(TemplateError, match=f"^a test's template, line 1: {what}"):
        render(ENDLESS[name])


def test_core_does_not_import_jinja_before_a_template_is_rendered() -> None:
    script = (
        "import sys, zigai_core, zigai_core.text.chat_template, zigai_core.text.chat_templates\n"
        "zigai_core.text.chat_template.ChatTemplate('x')\nprint('jinja2' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
