"""Limits on untrusted templates in long conversations, which allow more work than short ones."""

from __future__ import annotations

import pytest
from refusals import refusal_within

from zigai_core.text.chat_template import ChatTemplate, Message

LOOP = "{% for i in range(100000) %}"
END = "{% endfor %}"
TEXT = "messages[0].content"
LONG_CONVERSATION = {
    "nested loops": LOOP * 4 + END * 4,
    "much straight code": LOOP + "{% set x = messages[0].content %}" * 800 + END,
    "messages compared": "{% set a = messages | list %}" + LOOP + "{% if messages == a %}{% endif %}" + END,
    "texts compared": f"{{% set a = {TEXT} ~ 'a' %}}{{% set b = {TEXT} ~ 'a' %}}"
    + "{{ ([a] * 100000) | select('equalto', b) | list }}",
    "searches": "{% set t = 'a' * 29999 %}{% set p = 'a' * 45 ~ 'b' ~ 'a' * 45 %}"
    + LOOP
    + "{% if p in t %}{% endif %}"
    + END,
    "searches before a strip": "{% set t = 'a' * 29999 %}{% set p = 'a' * 45 ~ 'b' ~ 'a' * 45 %}"
    "{% for i in range(480) %}"
    + "{% if p in t %}{% endif %}{% endfor %}"
    + f"{{{{ {TEXT}.strip('bcefghijklmnpqstuvwxyzw' * 8 ~ 'a') }}}}"
    + LOOP * 3
    + END * 3,
    "strip": LOOP + f"{{% set x = {TEXT}.strip('abcdefghijklmnopq' * 100 ~ 'w') %}}" + END,
    "rfind": LOOP + f"{{% set x = {TEXT}.rfind({TEXT}[1:]) %}}" + END,
    "a text sorted": LOOP + f"{{% set x = {TEXT} | sort %}}" + END,
    "title": LOOP + f"{{% set x = {TEXT} | title %}}" + END,
    "JSON": LOOP + "{% set x = messages | tojson(indent=2) %}" + END,
    "sorted messages": LOOP + "{% set x = messages | sort(attribute='content') %}" + END,
    "formats": LOOP + f"{{% set x = '%s%r' % ({TEXT}, messages) %}}" + END,
    "parts, then text": "{% for p in messages[0].content %}{{ p.text }}{% endfor %}"
    + "{% for i in range(100000) %}{% for j in range(6) %}{% endfor %}{% endfor %}{{ 1 / 0 }}",
}


@pytest.mark.parametrize("name", LONG_CONVERSATION)
@pytest.mark.parametrize("count", [1, 1000])
def test_a_hostile_template_ends_within_2_s_in_a_long_conversation(name: str, count: int) -> None:
    text = "word " * (1_000_000 // count)
    messages: list[Message] = [{"role": "user", "content": text}] * count
    if name == "parts, then text":
        messages = [{"role": "user", "content": [{"type": "text", "text": text}]}] * count
    template = ChatTemplate(LONG_CONVERSATION[name], "a test's template")
    assert template.variables <= {"messages"}  # compiles it; the compilation has limits of its own
    refusal_within(2, lambda: template.render(messages))
