"""Chat templates: Jinja text from a model's file that turns messages into a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from types import CodeType
from typing import Any, TypedDict


class _Said(TypedDict):
    role: str
    content: str


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

        `TemplateError`, with origin and line, for a template that is wrong, that refuses the messages, or
        that takes too long or grows too large.
        """
        from zigai_core.text.template_sandbox import render_template

        variables = {
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": bos_token,
            "eos_token": eos_token,
            "tools": None,
            "documents": None,
            **keywords,
        }
        return render_template(self._code, self.origin, variables)

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template reads and does not set itself."""
        from zigai_core.text.template_sandbox import read_variables

        return read_variables(self.text, self.origin)

    @cached_property
    def _code(self) -> CodeType:
        # Jinja is imported when a template is first rendered: many programs never come here.
        from zigai_core.text.template_sandbox import compile_template

        return compile_template(self.text, self.origin)
