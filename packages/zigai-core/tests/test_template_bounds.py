"""Limits on untrusted templates: each hostile one ends in an error, within 2 s and 64 MB."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import tracemalloc
from typing import Any

import pytest
from refusals import refusal_within

from zigai_core.contracts.errors import TemplateError
from zigai_core.text import budget
from zigai_core.text.chat_template import ChatTemplate, Message

FIRST: Message = {"role": "user", "content": "Hello"}


def render(text: str, **keywords: Any) -> str:
    return ChatTemplate(text, "a test's template").render([FIRST], **keywords)


LOOP = "{% for i in range(100000) %}"
END = "{% endfor %}"


def doubling(start: str, grow: str) -> str:
    """A template that computes `ns.x` from itself in a loop, and writes it."""
    return (
        "{% set ns = namespace(x="
        + start
        + ") %}"
        + LOOP
        + "{% set ns.x = "
        + grow
        + " %}"
        + END
        + "{{ ns.x }}"
    )


LONG = "{% set t = 'a' * 900000 %}"
SHARED = "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}"
NUMBERS = "{% set x = range(60000) | list %}{% set y = range(60000) | list %}"
ENDLESS = {
    "a tree of shared lists, as safe text": "{% set ns = namespace(a=['x']) %}{% for i in range(60) %}"
    "{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | safe }}",
    "a method of safe text that pads": "{{ ('\\t' | safe).expandtabs(2000000000) | length }}",
    "a method of safe text that replaces": "{{ (('x' * 1000) | safe)"
    ".translate({120: 'y' * 1000000}) | length }}",
    "bytes of safe text": "{{ (('x' | safe).encode('utf-8') * 2000000000) | length }}",
    "formats that fail": "{% set s = ('a' * 1000000) ~ '{' ~ '{b' %}{% set ns = namespace(l=[]) %}"
    "{% for i in range(2000) %}{% set ns.l = [ns.l, s.format()] %}{% endfor %}",
    "copies of lists": "{% set x = range(100000) | list | reverse %}{% set ns = namespace(l=[]) %}"
    "{% for i in range(5000) %}{% set ns.l = [ns.l, x.copy()] %}{% endfor %}",
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
    "much text": LOOP + "0123456789abcdef" * 20 + END,
    "much text in a macro": "{% macro m() %}"
    + LOOP
    + "0123456789abcdef" * 20
    + END
    + "{% endmacro %}{% set x = m() %}",
    "much text in a set block": "{% set x %}" + LOOP + "0123456789abcdef" * 20 + END + "{% endset %}",
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
    # Single calls in C that take long or allocate much.
    "strip": "{{ ('\u0101' * 250000).strip('\u0201' * 250000 ~ '\u0101') }}",
    "trim": "{{ ('a' * 990000) | trim('b' * 990000 ~ 'a') }}",
    "rsplit": "{{ ('a' * 900000).rsplit('ab' ~ 'a' * 450000) }}",
    "rfind": "{{ ('a' * 900000).rfind('b' ~ 'a' * 450000) }}",
    "rpartition": "{{ ('a' * 900000).rpartition('b' ~ 'a' * 450000) }}",
    "split": "{{ ('a' * 990000).split('a') }}",
    "split at blanks": "{{ ('\u0101 ' * 490000).split() }}",
    "splitlines": "{{ ('\\n' * 990000).splitlines() }}",
    "list of characters": LOOP + "{% set x = ('\u0101' * 990000) | list %}" + END,
    "colliding numbers": "{{ range(0, 20000 * (2 ** 61 - 1), 2 ** 61 - 1) | unique | list }}",
    "colliding literals": "{{ {2305843009213693951: 1} }}",
    "a tuple as a key": "{{ {(1, 2): 1} }}",
    "a tuple in a key": "{{ {}.get((1, 2)) }}{{ (1, 2) in {} }}",
    "batch": "{{ [1] | batch(200000000, 0) | list }}",
    "filter replace": "{{ ('1' * 1000) | replace(1, 'x' * 900000) }}",
    "title": "{{ ('a ' * 900000) | title }}",
    "divisibleby formats": "{{ '%1000000000d' is divisibleby(1) }}",
    "even formats": "{{ '%1000000000d' is even }}",
    "round repeats": "{{ ('a' * 900000) | round(7, 'ceil') }}",
    "indent of other line breaks": "{{ ('\x85' * 900000) | indent(900, blank=true) }}",
    "many wide %": "{{ ('%999d' * 90000) % ((1,) * 90000) }}",
    "many wide formats": "{{ ('{:999}' * 90000).format(*([1] * 90000)) }}",
    "a representation": "{{ '{0!r}'.format(['\x00' * 900000] * 10) }}",
    "prefixes": "{{ ('a' * 900000).startswith(('a' * 899999,) * 100000) }}",
    "a long item in a list": "{{ ('a' * 900000 ~ '') in ['a' * 900000] * 100000 }}",
    "lists compared": "{{ ['a' * 900000] * 1000 == ['a' * 900000 ~ ''] * 1000 }}",
    "searches": LOOP + "{% if 'a' * 99 ~ 'b' in 'a' * 29000 %}{% endif %}" + END,
    "a float in a range": "{% set r = range(100000) %}" + LOOP + "{% if 1.5 in r %}{% endif %}" + END,
    "sorting": LOOP + "{% set x = range(100000) | sort %}" + END,
    "capitals": LOOP + "{% set x = ('\u0149' * 900000) | upper %}" + END,
    "a deep value": doubling("[1]", "[ns.x]"),
    "a deep tuple": doubling("(1,)", "(ns.x,)") + "{{ ns.x == ns.x }}",
    "lazy filters in each other": doubling("[1]", "ns.x | map('string')"),
    "macros kept": LOOP + "{% macro m() %}{% endmacro %}" + END,
    "namespaces kept": doubling("1", "namespace(x=ns.x)"),
    "a cycler": "{% set c = cycler(1, 2) %}" + LOOP * 2 + "{{ c.next() }}" + END * 2,
    "a path of attributes": "{{ [1] | map(attribute='.'.join(range(1000) | map('string'))) | list }}",
    "a filter that only the sandbox may use": "{{ [-10 ** 9] | map('step ') | list }}",
    "tuples that share their items": SHARED + "{{ [1] | map(attribute=ns.x) | list }}",
    "tuples that share their items, as a key": SHARED + "{{ [ns.x] | unique }}",
    "tuples that share their items, as an option": SHARED + "{{ 1.5 | round(1, ns.x) }}",
    "a text that doubles by escaping what is added": doubling("'&'", "(ns.x | safe) + ns.x"),
    "functions kept": doubling("1", "[ns.x, " + "'x'.strip, " * 20 + "]"),
    "functions of attributes kept": "{% set x = (['a'] * 30000) | map(attribute='strip') | list %}" * 5,
    "undefined values kept": "{% set x = ([1] * 100000) | map(attribute='q') | list %}" * 5,
    "arguments kept": "{% macro m(ns) %}{% set ns.x = [ns.x, kwargs] %}{% endmacro %}"
    "{% set ns = namespace(x=1) %}"
    + LOOP
    + "{{ m(ns, "
    + ", ".join(f"a{i}=1" for i in range(50))
    + ") }}"
    + END,
    "a text sorted": "{% set x = ('a' * 900000) | sort %}",
    "an escape in wide text": "{% set x = ['\x80' * 900000, '😀'] | string %}" * 2,
    "lengths of filtered loops": "".join(
        f"{{% for i{i} in range(100000) if true %}}{{% set x{i} = loop.length %}}" for i in range(18)
    )
    + END * 18,
    # Templates that are costly to compile.
    "short outputs": "{{x}}" * 20_000,
    "many sets": "{% set a=b %}" * 8_000,
    "many branches": "{% if a %}" + "{% elif b %}" * 8_000 + "{% endif %}",
    "a constant": "{{ " + "9" * 90_000 + " }}",
    "a hexadecimal constant": "{{ 0x" + "f" * 90_000 + " }}",
    "open braces": "{" * 99_000,
    "open comments": "{#" * 49_000,
    "open tags": "{%" + " " * 90_000 + "%}",
    "attributes": "{{ a" + ".a" * 40_000 + " }}",
    "a long concatenation": "{{ " + "a~" * 40_000 + "a }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_hostile_template_ends_within_2_s(name: str) -> None:
    refusal = str(refusal_within(2, lambda: render(ENDLESS[name])))
    assert len(refusal) < 400
    assert refusal.isprintable()


@pytest.mark.parametrize("name", ENDLESS)
def test_a_hostile_template_takes_at_most_64_mb(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            render(ENDLESS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64_000_000


LIMITED = """\
import json, resource, sys
from zigai_core.contracts.errors import TemplateError
from zigai_core.text import budget
from zigai_core.text.chat_template import ChatTemplate
ChatTemplate("{{ 1 }}").render([])
for name, text in json.load(sys.stdin).items():
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 64_000_000, resource.RLIM_INFINITY))
    try:
        print(name, "gave", ChatTemplate(text).render([])[:100])
    except TemplateError as error:
        if str(error).endswith("MemoryError"):
            print(name, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits the address space")
def test_hostile_templates_end_in_64_mb_of_address_space() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LIMITED],
        input=json.dumps(ENDLESS),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("nested loops", "takes too long: it does more work than a conversation of this size may need"),
        ("much text", "makes more text and lists than a conversation of this size may need"),
        ("a number that grows by *", "computes an integer of more than 61 bits"),
        ("a power", "computes an integer of more than 61 bits"),
        ("a format of times", "asks for the time in a format of more than 200 characters"),
        ("a recursive macro", "nests more than 64 calls"),
        ("a deep value", "uses a value that nests more than 64 deep"),
        ("a wide %", "formats a field wider than 999 characters"),
        ("batch", "No filter named 'batch'"),
        ("short outputs", "the template has more than 12000 tokens"),
        ("a hexadecimal constant", "the template has a number of more than 1000 digits"),
    ],
)
def test_an_error_names_the_limit(name: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "SECONDS", 1000)  # a slow machine would reach the limit on time first
    with pytest.raises(TemplateError, match=f"^a test's template, line 1: {what}"):
        render(ENDLESS[name])


def test_an_error_is_short_and_printable() -> None:
    for text in (
        "{{ raise_exception('\x1b[31m' ~ 'a' * 900000) }}",
        "{{ x['\x1b[31m' ~ 'a' * 900000].b }}",
        "{% " + "a" * 90_000 + " %}",
        "{{ 'a' | " + "b" * 90_000 + " }}",
    ):
        with pytest.raises(TemplateError, match=r"^a test's template, line 1: ") as caught:
            render(text, x={})
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
        assert caught.value.__suppress_context__


def test_an_interrupt_ends_a_rendering() -> None:
    script = (
        "import signal\n"
        "from zigai_core.text import budget\n"
        "from zigai_core.text.chat_template import ChatTemplate\n"
        "budget.WORK = 10 ** 12\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "ChatTemplate('{{ 1 }}').render([])\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
        "try: ChatTemplate('" + LOOP * 3 + END * 3 + "').render([])\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.stdout == "interrupted\n", result.stderr


def test_bounds_hold_in_each_of_several_threads() -> None:
    errors: list[str] = []
    template = ChatTemplate(ENDLESS["much text"], "a test's template")

    def run() -> None:
        with pytest.raises(TemplateError) as caught:
            template.render([FIRST])
        errors.append(str(caught.value))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 4
    assert len(set(errors)) == 1
