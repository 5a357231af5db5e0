"""The turn of a chat: a message, and the reply to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from zigai_core.engine.stream import Channel
from zigai_core.text.chat_template import Message
from zigai_core.text.reasoning import split_reasoning


@dataclass(eq=False)
class Turn:
    """A message and the reply to it, complete or not.

    The chat refers to the turn and not to the reply, so that a reply that nobody else refers to is closed.
    """

    message: Message
    channel: Channel
    cancel: Callable[[], None]
    """Ends the reply soon. Takes no lock."""
    wait: Callable[[], None]
    """Waits for the end of a cancelled reply, at most for a step."""
    begun: bool
    """True if the prompt ends within the reasoning, as some templates have it."""

    @property
    def open(self) -> bool:
        """True while the reply is being generated, and was neither cancelled nor closed."""
        channel = self.channel
        return not (channel.ended or channel.cancelled or channel.closed or self._left_behind)

    @property
    def text(self) -> str:
        """The text for the chat: all that was generated, or what was read if the reply was closed.

        After a fork of the process, the child's chat has what was read of an open reply before the fork.
        """
        channel = self.channel
        return channel.read if channel.closed or self._left_behind else channel.text

    def end(self) -> None:
        """Waits, if the reply was cancelled, until the engine has ended it and its text is complete."""
        channel = self.channel
        if channel.cancelled and not (channel.ended or channel.closed or self._left_behind):
            self.wait()

    @property
    def _left_behind(self) -> bool:
        """True if the reply was open when the process was forked, and this is the child."""
        return not self.channel.ended and self.channel.pid != os.getpid()

    def messages(self) -> list[Message]:
        """What the turn adds to the chat: the message and the reply to it, or nothing if there is none."""
        text = self.text
        if not text and self.channel.reason != "end":
            return []
        reasoning, answer = split_reasoning(text, begun=self.begun)
        reply: Message = {"role": "assistant", "content": answer}
        if reasoning:
            reply["reasoning_content"] = reasoning
        return [self.message, reply]
