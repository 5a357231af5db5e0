"""Chat templates: Jinja text from a model's file that turns messages into a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import CodeType
from typing import Any, TypedDict, cast

from zigai_core.contracts.errors import TemplateError
from zigai_core.text.budget import Budget
from zigai_core.text.sandbox import compile_template, render_template


class PartsText(list[Any]):
    """A message's content given as text parts: a list that is one text where a template writes it."""

    def __str__(self) -> str:
        return "\n".join(part["text"] for part in self)

    def __contains__(self, item: object) -> bool:
        return item in str(self) if isinstance(item, str) else super().__contains__(item)


class _Said(TypedDict):
    role: str
    content: str | list[dict[str, Any]]


class Message(_Said, total=False):
    """One turn of a conversation; `role` is `system`, `user`, `assistant`, or another the template has.

    The rest is for templates that know of it: what the model thought before it answered, which tools it
    called, and which call a `tool` message answers.
    """

    reasoning_content: str
    tool_calls: list[dict[str, Any]]
    tool_call_id: str
    name: str


class ChatTemplate:
    """A template, compiled when it is first rendered; it may be shared between threads.

    `text` is Jinja as Hugging Face's tokenizers use it (https://huggingface.co/docs/transformers/chat_templating):
    `messages`, `add_generation_prompt`, `bos_token`, `eos_token`, `tools`, `documents`, `raise_exception`,
    `strftime_now`, `tojson`, `break` and `continue`. `origin` says in errors where the text is from.
    """

    def __init__(self, text: str, origin: str = "the chat template") -> None:
        self.text = text
        self.origin = origin

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        bos_token: str = "",
        eos_token: str = "",
        **keywords: Any,
    ) -> str:
        """The prompt. `keywords` are further variables of the template.

        Content that is a list of text parts is given as it is to a template that reads parts, with a line
        break between them to one that wants a string, as llama.cpp and vLLM do.

        `TemplateError`, with origin and line, for a template that is wrong, that refuses the messages, or
        that takes too long or grows too large.
        """
        variables = {
            "add_generation_prompt": add_generation_prompt,
            "bos_token": bos_token,
            "eos_token": eos_token,
            "tools": None,
            "documents": None,
            **keywords,
        }
        code, _, reads_text = self._compiled
        prepared = [_prepared(message) for message in messages]
        parts = any(isinstance(message.get("content"), PartsText) for message in prepared)
        budget = Budget({**variables, "messages": prepared})
        if parts and reads_text:
            try:
                return render_template(code, self.origin, {**variables, "messages": prepared}, budget)
            except TemplateError:
                pass  # it reads parts of another kind
        joined = [_joined(message) for message in prepared] if parts else prepared
        return render_template(code, self.origin, {**variables, "messages": joined}, budget)

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template reads and does not set itself."""
        return self._compiled[1]

    @cached_property
    def _compiled(self) -> tuple[CodeType, frozenset[str], bool]:
        return compile_template(self.text, self.origin)


def _prepared(message: Message) -> Mapping[str, Any]:
    """The message with its text parts marked, and its reasoning under both names that templates have for it.

    Some (gpt-oss) call it `thinking`; transformers gives it as both, too.
    """
    if "reasoning_content" in message:
        message = cast("Message", {"thinking": message["reasoning_content"], **message})
    content = message.get("content")
    if isinstance(content, list) and content and all(map(_is_text, content)):
        message = {**message, "content": PartsText(content)}
    return message


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _joined(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    return {**message, "content": str(content)} if isinstance(content, PartsText) else message
