"""The messages of a chat between two resets."""

from __future__ import annotations

from collections.abc import Sequence

from zigai_core.api.turn import Turn
from zigai_core.contracts.errors import ChatBusyError
from zigai_core.text.chat_template import Message


class Conversation:
    """Messages, and the last turn, which is added to them when its reply ends.

    Not protected by a lock, which could block in a signal handler or in the child of a fork: `state` is
    replaced as a whole, and only by the call of `Chat.send` that is in `senders`.
    """

    def __init__(self, messages: Sequence[Message] = ()) -> None:
        self.state: tuple[Sequence[Message], Turn | None] = (tuple(messages), None)
        """The messages before the last turn, and the last turn."""
        self.senders: dict[int, object] = {}
        """By process id, the call of `Chat.send` in progress; `setdefault` admits one without waiting."""

    @property
    def messages(self) -> list[Message]:
        """All messages. While a reply is open, its message is the last."""
        messages, turn = self.state
        added = [] if turn is None else [turn.message] if turn.open else turn.messages()
        return [*messages, *added]

    def settled(self, what: str) -> list[Message]:
        """All messages, after the last turn has ended.

        Waits for a cancelled reply, at most for a step. Raises `ChatBusyError`, which names the refused
        action `what`, if a reply is open.
        """
        messages, turn = self.state
        if turn is None:
            return list(messages)
        if turn.open:
            raise ChatBusyError(
                f"cannot {what} this chat while a reply is open: read it to its end, close() it, or reset() "
                "the chat, first"
            )
        turn.end()
        return [*messages, *turn.messages()]

    def cancel(self) -> None:
        """Cancels an open reply. Takes no lock."""
        turn = self.state[1]
        if turn is not None and turn.open:
            turn.cancel()
