"""Chat templates as their publishers wrote them: the same text as transformers' `render_jinja_template`.

`nox -s oracle` runs this. The templates of 70 models lie in llama.cpp's repository, which the source
distribution of llama-cpp-python holds; the environment variable ZIGAI_LLAMA_CPP_PYTHON names its .tar.gz:

    pip download --no-deps --no-binary llama-cpp-python --no-build-isolation llama-cpp-python
    ZIGAI_LLAMA_CPP_PYTHON=llama_cpp_python-0.3.36.tar.gz pytest integration-tests/oracle/compare_templates.py

Those of some thirty more families come with the distribution `axolotl`, which is installed for that alone,
without what it depends on. Tests of templates that are not there are skipped.
"""

from __future__ import annotations

import os
import re
import tarfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from zigai_core.contracts.errors import TemplateError
from zigai_core.text.chat_template import ChatTemplate, Message

ARCHIVE = os.environ.get("ZIGAI_LLAMA_CPP_PYTHON")


def of_llama_cpp() -> dict[str, str]:
    if not ARCHIVE:
        return {}
    texts = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            path = Path(member.name)
            if path.match("vendor/llama.cpp/models/templates/*.jinja") and (
                file := archive.extractfile(member)
            ):
                texts[path.stem] = file.read().decode("utf-8")
    return texts


def of_axolotl() -> dict[str, str]:
    try:
        paths = files("axolotl") or []
    except PackageNotFoundError:
        return {}
    return {
        f"axolotl-{path.stem}": Path(str(path.locate())).read_text(encoding="utf-8")
        for path in paths
        if path.match("axolotl/utils/chat_templates/templates/*.jinja")
    }


TEMPLATES = {**of_llama_cpp(), **of_axolotl()}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers: a < b & 'c' \"d\" é",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": "one"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    }
]
CALL: dict[str, Any] = {
    "id": "call12345",
    "type": "function",
    "function": {"name": "add", "arguments": {"a": 7, "b": 5}},
}
CALL_AS_TEXT: dict[str, Any] = {
    **CALL,
    "function": {"name": "add", "arguments": '{"a": 7, "b": 5}'},
}
CONVERSATIONS: dict[str, tuple[list[Message], dict[str, Any]]] = {
    "user": ([{"role": "user", "content": "Hello <there> & 'you' é\n\n"}], {}),
    "turns": (
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "  two "},
            {"role": "user", "content": "three"},
        ],
        {},
    ),
    "system": (
        [
            {"role": "system", "content": "Be brief.\n"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ],
        {},
    ),
    "tools": (
        [
            {"role": "system", "content": "Use tools."},
            {"role": "user", "content": "seven plus five"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "12", "name": "add", "tool_call_id": "call12345"},
            {"role": "assistant", "content": "twelve"},
            {"role": "user", "content": "thanks"},
        ],
        {"tools": TOOLS},
    ),
    "tools without a call": ([{"role": "user", "content": "seven plus five"}], {"tools": TOOLS}),
    "arguments as text": (
        [
            {"role": "user", "content": "seven plus five"},
            {"role": "assistant", "content": "", "tool_calls": [CALL_AS_TEXT]},
            {"role": "tool", "content": "12", "name": "add", "tool_call_id": "call12345"},
        ],
        {"tools": TOOLS},
    ),
    "reasoning": (
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two", "reasoning_content": "easy"},
            {"role": "user", "content": "three"},
        ],
        {"enable_thinking": False},
    ),
    "reasoning in the text": (
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "<think>\neasy\n</think>\n\ntwo"},
            {"role": "user", "content": "three"},
        ],
        {},
    ),
    "parts": (
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": "three"},
            {"role": "user", "content": [{"type": "text", "text": " four "}]},
        ],
        {},
    ),
    "no prompt at the end": (
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
        ],
        {"add_generation_prompt": False},
    ),
}
REFUSED = "refused"
PART = "one"
"""Text of the first part: missing where a template passes over a list, in quotes where it writes it out."""
ADAPTED = {"llama-cpp-deepseek-r1": {"| tojson(indent=2)": "| list | tojson(indent=2)"}}
"""Changes without which transformers cannot render a template: its JSON takes no generator of `map`."""


def ours(text: str, messages: list[Message], keywords: dict[str, Any]) -> str:
    try:
        return ChatTemplate(text).render(messages, bos_token="<s>", eos_token="</s>", **keywords)
    except TemplateError as error:
        print(error)
        return REFUSED


def theirs(text: str, messages: list[Any], keywords: dict[str, Any]) -> str:
    options = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", **keywords}
    try:
        rendered, _ = render_jinja_template([messages], chat_template=text, **options)
    except Exception as error:  # Jinja's, and Python's own where a template meets what it does not expect
        print(error)
        return REFUSED
    return str(rendered[0])


def joined(messages: list[Message]) -> list[Any]:
    """The messages with their text parts as one text."""
    return [
        {**message, "content": "\n".join(part["text"] for part in message["content"])}
        if isinstance(message["content"], list)
        else message
        for message in messages
    ]


def test_there_are_templates_enough() -> None:
    if not ARCHIVE:
        pytest.skip("ZIGAI_LLAMA_CPP_PYTHON names no source distribution of llama-cpp-python")
    assert len(of_llama_cpp()) >= 70
    assert len(CONVERSATIONS) == 10


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_published_template_renders_as_transformers_renders_it(name: str, conversation: str) -> None:
    text = TEMPLATES[name]
    messages, keywords = CONVERSATIONS[conversation]
    for old, new in ADAPTED.get(name, {}).items():
        text = text.replace(old, new)
    expected = theirs(text, messages, keywords)
    if conversation == "parts" and (PART not in expected or re.search(f"['\"]{PART}", expected)):
        expected = theirs(text, joined(messages), keywords)  # the template wants a string
    assert ours(TEMPLATES[name], messages, keywords) == expected


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_most_templates_take_each_conversation(conversation: str) -> None:
    if not TEMPLATES:
        pytest.skip("no templates are installed")
    messages, keywords = CONVERSATIONS[conversation]
    taken = [name for name, text in TEMPLATES.items() if ours(text, messages, keywords) != REFUSED]
    assert len(taken) > len(TEMPLATES) / 2
