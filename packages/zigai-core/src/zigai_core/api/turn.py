"""The turn of a chat: a message, and the reply to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zigai_core.engine.stream import Channel
from zigai_core.text.chat_template import Message
from zigai_core.text.reasoning import split_reasoning


@dataclass(eq=False)
class Turn:
    """A message and the reply to it, as far as it has come.

    The chat refers to the turn and not to the reply, which is closed when nobody else refers to it.
    """

    message: Message
    channel: Channel
    cancel: Callable[[], None]
    """Ends the reply soon. Takes no lock."""
    begun: bool
    """True if the prompt ends within the reasoning, as some templates have it."""
    read: str = ""
    """The text that was read from the reply."""

    @property
    def open(self) -> bool:
        """True while the reply is being generated, and was neither cancelled nor closed."""
        channel = self.channel
        return not (channel.ended or channel.cancelled or channel.closed)

    @property
    def text(self) -> str:
        """The text that joins the chat: all of it if the reply has ended, what was read if it was closed."""
        if self.channel.closed:
            return self.read
        return self.read + "".join(piece.text for piece in list(self.channel.pieces))

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
