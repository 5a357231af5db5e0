"""Chat templates as their publishers wrote them: the same text as transformers' `apply_chat_template`.

`nox -s oracle` runs this. The templates of some thirty families come with the distribution `axolotl`, which
is installed for that alone, without what it depends on.
"""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from zigai_core.contracts.errors import TemplateError
from zigai_core.text.chat_template import ChatTemplate, Message

TEMPLATES = {
    path.stem: Path(str(path.locate()))
    for path in files("axolotl") or []
    if path.match("axolotl/utils/chat_templates/templates/*.jinja")
}
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
    "thinking": (
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two", "reasoning_content": "easy"},
            {"role": "user", "content": "three"},
        ],
        {"enable_thinking": False},
    ),
}
REFUSED = "refused"


def ours(text: str, messages: list[Message], keywords: dict[str, Any]) -> str:
    template = ChatTemplate(text)
    try:
        return template.render(messages, bos_token="<s>", eos_token="</s>", **keywords)
    except TemplateError as error:
        print(error)
        return REFUSED


def theirs(text: str, messages: list[Message], keywords: dict[str, Any]) -> str:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_no_tokens(), bos_token="<s>", eos_token="</s>")
    try:
        rendered = tokenizer.apply_chat_template(
            messages, chat_template=text, tokenize=False, add_generation_prompt=True, **keywords
        )
    except Exception as error:  # Jinja's, and Python's own where a template meets what it does not expect
        print(error)
        return REFUSED
    return str(rendered)


def _no_tokens() -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.BPE())


def test_there_are_templates_enough() -> None:
    assert len(TEMPLATES) >= 30


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_published_template_renders_as_transformers_renders_it(name: str, conversation: str) -> None:
    text = TEMPLATES[name].read_text(encoding="utf-8")
    messages, keywords = CONVERSATIONS[conversation]
    assert ours(text, messages, keywords) == theirs(text, messages, keywords)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_a_dozen_templates_and_more_take_each_conversation(conversation: str) -> None:
    messages, keywords = CONVERSATIONS[conversation]
    taken = [
        path.stem for path in TEMPLATES.values() if theirs(path.read_text(), messages, keywords) != REFUSED
    ]
    assert len(taken) >= 12
