"""Chats: messages, the template that makes a prompt of them, and replies."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zigai_core.api.async_reply import AsyncReply
from zigai_core.api.conversation import Conversation
from zigai_core.api.messages import checked_message, checked_messages, checked_system
from zigai_core.api.reply import ChatReply
from zigai_core.api.turn import Turn
from zigai_core.contracts.errors import ChatBusyError, ContextOverflowError, TemplateError
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.request import Overflow, Shift
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream
from zigai_core.text.chat_template import ChatTemplate, Message
from zigai_core.text.escape import Guard, Spellings
from zigai_core.text.reasoning import OPENING

_OWN = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token"})
"""Variables of a template that a chat sets itself."""

Submit = Callable[[Sequence[int], float, Mapping[str, Any], Shift | None], tuple[Stream, Sampler]]
"""Submits a prompt, with the time of the call and the keywords of `Chat.send`; returns stream and sampler."""


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
        self._conversation = Conversation()
        for keyword in self._keywords:
            if keyword not in template.variables - _OWN:
                taken = ", ".join(sorted(template.variables - _OWN)) or "none"
                raise TemplateError(f"{template.origin} has no variable {keyword!r}; its variables: {taken}")

    @property
    def system(self) -> str | None:
        """The system message, which may be set. Raises `TokenizerError` for anything but a text or None."""
        return self._system

    @system.setter
    def system(self, system: str | None) -> None:
        self._system = checked_system(system)

    @property
    def messages(self) -> list[Message]:
        """Copies of the messages, without the system's. While a reply is open, its message is the last.

        They may be set while no reply is open. Raises `TokenizerError` for what is not a list of messages.
        """
        return copy.deepcopy(self._conversation.messages)

    @messages.setter
    def messages(self, messages: Sequence[Message]) -> None:
        new = Conversation(checked_messages(messages))
        conversation = self._conversation
        if os.getpid() in conversation.senders:
            raise _busy("set the messages of")
        conversation.settled("set the messages of")
        self._replace(new)

    def send(self, message: str | Message, **options: Any) -> ChatReply:
        """Sends a message and returns the reply to it, which joins the chat when it ends.

        A text is the user's; a message of another role, such as a tool's result, is given as a `Message`.
        `options` are keywords of `Model.generate`: `max_tokens`, `stop`, sampling options and others;
        `overflow`, `speculate` and `draft` replace those of the chat.

        Raises `ChatBusyError` while the reply to an earlier message is open or another message is being
        sent, `ContextOverflowError` if there is no room for a reply, and `TemplateError` if the template
        refuses the messages.
        """
        called = time.perf_counter()
        new = checked_message(message)
        overflow = options.get("overflow", self._overflow)
        me, process, conversation = object(), os.getpid(), self._conversation
        senders = conversation.senders
        try:
            if senders.setdefault(process, me) is not me:
                raise _busy("send a message to")
            earlier = conversation.settled("send a message to")
            history, prompt, begun, dropped = self._fit([*earlier, new], overflow)
            shift = self._shift(history, prompt) if overflow == "shift" else None
            stream, sampler = self._submit(prompt, called, {"overflow": overflow, **options}, shift)
            turn = Turn(new, stream.channel, stream.canceller, stream.awaiter, begun)
            conversation.state = (history[:-1], turn)
        finally:
            if process in senders and senders[process] is me:  # without a call, after which Ctrl-C could come
                del senders[process]
        if self._conversation is not conversation:  # reset meanwhile
            turn.cancel()
        return ChatReply(
            stream, self._tokenizer, turn, context=self.context, seed=sampler.seed, dropped=dropped
        )

    def asend(self, message: str | Message, **options: Any) -> AsyncReply[ChatReply]:
        """Sends a message as `send` does, and returns the reply for `async for` or `await`."""
        return AsyncReply(self.send(message, **options))

    def reset(self) -> None:
        """Forgets all messages but the system's. An open reply is cancelled and does not join the chat.

        Takes no lock: it may be called from any thread and from signal handlers. The reply to a message that
        is being sent meanwhile is cancelled, too.
        """
        self._replace(Conversation())

    def _replace(self, new: Conversation) -> None:
        old, self._conversation = self._conversation, new
        old.cancel()

    def _fit(self, messages: list[Message], overflow: Overflow) -> tuple[list[Message], list[int], bool, int]:
        """Returns the messages that are kept, what `_render` returns, and the number of dropped tokens.

        With the policy `shift`, a quarter of the context is left free for the reply.
        """
        tokens, begun = self._render(messages)
        full = len(tokens)
        room = self.context - self.context // 4
        while overflow == "shift" and len(tokens) > room:
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
        before = after = (history, len(prompt))
        last: list[int] | None = None

        def shift(tokens: Sequence[int]) -> list[int]:
            nonlocal before, after, last
            given = [int(token) for token in tokens]
            if given != last:  # equal tokens: Ctrl-C came before the last result was used
                before, last = after, given
            kept, length = before
            first, reply = given[:length], given[length:]
            room = self.context - self.context // 4
            if not reply and _without_oldest_turn(kept) is None:
                raise ContextOverflowError(
                    f"the message is too long: it has {length} tokens"
                    f"{' with the system message' if self.system else ''}, and the context holds "
                    f"{self.context}; send a shorter message, or use a larger context"
                )
            while len(first) + len(reply) > room:
                later = _without_oldest_turn(kept)
                if later is None:
                    break
                kept, first = later, self._render(later)[0]
            after = (kept, len(first))
            if len(first) + len(reply) > room:
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


def _busy(what: str) -> ChatBusyError:
    return ChatBusyError(f"cannot {what} this chat while another message is being sent to it")


def _without_oldest_turn(messages: list[Message]) -> list[Message] | None:
    """Returns the messages from the second user message on, or None if there is none before the last one.

    A turn is a user message and all that follows it up to the next one, so that no tool's result remains
    without its call.
    """
    for place, message in enumerate(messages[1:], start=1):
        if message["role"] == "user":
            return messages[place:]
    return None
