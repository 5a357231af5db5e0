"""Chats: messages, the template that makes a prompt of them, and replies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zigai_core.api.async_reply import AsyncReply
from zigai_core.api.reply import ChatReply
from zigai_core.api.turn import Turn
from zigai_core.contracts.errors import ChatBusyError, TemplateError, TokenizerError
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.request import Overflow, Shift
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream
from zigai_core.text.chat_template import ChatTemplate, Message
from zigai_core.text.escape import Guard, Spellings
from zigai_core.text.reasoning import OPENING

_OWN = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token"})
"""Variables of a template that a chat sets itself."""

Submit = Callable[..., tuple[Stream, Sampler]]
"""Submits a prompt with the keywords of `Chat.send`; returns the stream and its sampler."""


class Chat:
    """A conversation. Made by `Model.chat`; several chats of a model share its engine.

    Only new tokens are computed for a message, because the engine finds the earlier ones by prefix. With
    `overflow="shift"` the oldest turns are dropped when the context is full; the system message stays.
    `keywords` are further variables of the template, such as `tools` or `enable_thinking`.

    >>> chat = model.chat(system="Answer in one word.")     # doctest: +SKIP
    >>> print(chat.send("The capital of France?"))         # doctest: +SKIP
    Paris
    """

    def __init__(
        self,
        submit: Submit,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        context: int,
        system: str | None = None,
        overflow: Overflow = "stop",
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        self.template = template
        self.system = system
        self.context = context
        """Maximum number of tokens, of prompt and reply together."""
        self._submit = submit
        self._tokenizer = tokenizer
        self._control_tokens = Spellings(tokenizer.control_tokens)
        self._overflow: Overflow = overflow
        self._keywords = dict(keywords or {})
        self._messages: list[Message] = []
        self._turn: Turn | None = None
        self._lock = threading.Lock()  # guards messages and turn; never held while the engine runs
        for keyword in self._keywords:
            if keyword not in template.variables - _OWN:
                taken = ", ".join(sorted(template.variables - _OWN)) or "none"
                raise TemplateError(f"{template.origin} takes no {keyword!r}; what it reads is: {taken}")

    @property
    def messages(self) -> list[Message]:
        """A copy of the messages, without the system's. While a reply is open, its message is the last."""
        with self._lock:
            turn = self._turn
            added = [] if turn is None else [turn.message] if turn.open else turn.messages()
            return [*self._messages, *added]

    @messages.setter
    def messages(self, messages: Sequence[Message]) -> None:
        with self._lock:
            self._settle("set the messages of")
            self._messages = list(messages)

    def send(self, message: str | Message, **options: Any) -> ChatReply:
        """Sends a message and returns the reply to it, which joins the chat when it ends.

        A text is the user's; a message of another role, such as a tool's result, is given as a `Message`.
        `options` are keywords of `Model.generate`: `max_tokens`, `stop`, sampling options and others.

        Raises `ChatBusyError` while the reply to an earlier message is open, `ContextOverflowError` if there
        is no room for a reply, and `TemplateError` if the template refuses the messages.
        """
        given: object = message
        if not isinstance(given, (str, Mapping)):
            raise TokenizerError(f"a message is text or a mapping with a role, not {type(given).__name__}")
        new: Message = {"role": "user", "content": message} if isinstance(message, str) else message
        with self._lock:
            self._settle("send a message to")
            history, prompt, begun, dropped = self._fit([*self._messages, new])
            stream, sampler = self._submit(
                prompt, overflow=self._overflow, shift=self._shift(history, prompt), **options
            )
            stream.usage.dropped_tokens += dropped
            self._messages = history[:-1]
            self._turn = turn = Turn(new, stream.channel, stream.canceller, begun)
        return ChatReply(stream, turn, context=self.context, seed=sampler.seed)

    def asend(self, message: str | Message, **options: Any) -> AsyncReply[ChatReply]:
        """Sends a message as `send` does, and returns the reply for `async for` or `await`."""
        return AsyncReply(self.send(message, **options))

    def reset(self) -> None:
        """Forgets all messages but the system's. An open reply is cancelled and does not join the chat."""
        with self._lock:
            if self._turn is not None:
                self._turn.cancel()
            self._turn = None
            self._messages = []

    def _settle(self, what: str) -> None:
        """Adds an ended turn to the messages. Raises `ChatBusyError` if it is open."""
        if self._turn is None:
            return
        if self._turn.open:
            raise ChatBusyError(
                f"cannot {what} this chat while a reply is open: read it to its end, or close() it, first"
            )
        self._messages += self._turn.messages()
        self._turn = None

    def _fit(self, messages: list[Message]) -> tuple[list[Message], list[int], bool, int]:
        """Returns the messages that are kept, what `_render` returns, and the number of dropped tokens.

        With the policy `shift`, a quarter of the context is left free for the reply.
        """
        tokens, begun = self._render(messages)
        full = len(tokens)
        room = self.context - self.context // 4
        while self._overflow == "shift" and len(tokens) > room:
            later = _without_oldest_turn(messages)
            if later is None:
                break
            messages = later
            tokens, begun = self._render(later)
        return messages, tokens, begun, full - len(tokens)

    def _shift(self, history: list[Message], prompt: list[int]) -> Shift:
        """Returns a function that makes room in a full context by dropping the oldest turns.

        If only the last message is left, the older half of the reply is dropped.
        """
        kept = history
        length = len(prompt)

        def shift(tokens: Sequence[int]) -> list[int]:
            nonlocal kept, length
            reply = [int(token) for token in tokens[length:]]
            first = [int(token) for token in tokens[:length]]
            room = self.context - self.context // 4
            while len(first) + len(reply) > room:
                later = _without_oldest_turn(kept)
                if later is None:
                    break
                kept, first = later, self._render(later)[0]
            length = len(first)
            if length + len(reply) > room:
                reply = reply[max(1, len(reply) // 2) :]
            return [*first, *reply]

        return shift

    def _render(self, messages: Sequence[Message]) -> tuple[list[int], bool]:
        """Returns the prompt, and whether it ends within the reasoning."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        roles = self._tokenizer.special_ids
        said = {**self._keywords, "messages": [*system, *messages]}
        guard = Guard(self._control_tokens, said)
        rendered = self.template.render(
            **guard.broken,
            bos_token=self._spelling(roles.get("bos")),
            eos_token=self._spelling(roles.get("eos")),
        )
        text, guards = guard.removed(rendered)
        begun = text.rstrip().endswith(OPENING)
        tokens = self._tokenizer.encode(text, special=True, guards=guards)
        bos = roles.get("bos")
        # A template that writes the bos token itself and a file that asks for one would make two of it.
        twice = bos is not None and tokens[:2] == [bos, bos]
        return tokens[1:] if twice else tokens, begun

    def _spelling(self, token: int | None) -> str:
        return "" if token is None else self._tokenizer.token_text(token)


def _without_oldest_turn(messages: list[Message]) -> list[Message] | None:
    """Returns the messages from the second user message on, or None if there is none before the last one.

    A turn is a user message and all that follows it up to the next one, so that no tool's result remains
    without its call.
    """
    for place, message in enumerate(messages[1:], start=1):
        if message["role"] == "user":
            return messages[place:]
    return None
