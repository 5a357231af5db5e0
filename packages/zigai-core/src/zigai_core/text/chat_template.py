"""Chat templates: Jinja text in a model's file that turns messages into a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import CodeType
from typing import Any, TypedDict, cast

from zigai_core.contracts.errors import TemplateError
from zigai_core.text.budget import Budget
from zigai_core.text.sandbox import compile_template, render_template


class PartsText(list[Any]):
    """The text parts of a message's content. A template that writes the list gets the joined text."""

    def __str__(self) -> str:
        return "\n".join(part["text"] for part in self)

    def __contains__(self, item: object) -> bool:
        return item in str(self) if isinstance(item, str) else super().__contains__(item)


class _Required(TypedDict):
    role: str
    content: str | list[dict[str, Any]]


class Message(_Required, total=False):
    """One message. `role` is `system`, `user`, `assistant`, or another role that the template has.

    The optional fields are used by some templates only: the model's reasoning before its answer, the tools
    that it called, and the call to which a message of the role `tool` replies.
    """

    reasoning_content: str
    tool_calls: list[dict[str, Any]]
    tool_call_id: str
    name: str


class ChatTemplate:
    """A template. It is compiled when it is first rendered, and may be shared between threads.

    `text` is Jinja source as Hugging Face's tokenizers use it (https://huggingface.co/docs/transformers/chat_templating):
    `messages`, `add_generation_prompt`, `bos_token`, `eos_token`, `tools`, `documents`, `raise_exception`,
    `strftime_now`, `tojson`, `break` and `continue`. `origin` names the source of the text in errors.
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
        """Returns the prompt. `keywords` are further variables of the template.

        A list of text parts as content is passed unchanged to a template that reads parts. Any other template
        gets the parts joined by line breaks, as in llama.cpp and vLLM.

        Raises `TemplateError`, with origin and line, if the template is invalid, if it refuses the messages,
        or if it exceeds the limits on time and memory (`text.budget`).
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
                pass  # the template reads other kinds of parts, but needs text as a string
        joined = [_joined(message) for message in prepared] if parts else prepared
        return render_template(code, self.origin, {**variables, "messages": joined}, budget)

    @cached_property
    def variables(self) -> frozenset[str]:
        """The variables that the template reads and does not set, unless it sets those that are not given."""
        return self._compiled[1]

    @cached_property
    def _compiled(self) -> tuple[CodeType, frozenset[str], bool]:
        return compile_template(self.text, self.origin)


def _prepared(message: Message) -> Mapping[str, Any]:
    """The message with `PartsText` for its text parts, and with its reasoning under both names in use.

    Some templates (gpt-oss) name it `thinking`; transformers passes both names, too.
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
