"""The state of a conversation that is being held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from zigai_cli.conversation.answer import Settings
from zigai_cli.terminal.output import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zigai_cli.conversation.loading import Ready
    from zigai_cli.conversation.notebook import Notebook
    from zigai_core.api.chat import Chat
    from zigai_core.text.chat_template import Message


@dataclass
class Held:
    """A conversation: its settings, its model once that is loaded, and where it is kept."""

    settings: Settings
    screen: TextIO
    """Where the terminal is written."""
    kept: Notebook | None = None
    ready: Ready | None = None
    used: int = 0
    """Tokens in the context after the last reply."""
    retries: int = 0
    """How often the last message was answered again."""

    @property
    def talk(self) -> Chat:
        """The chat with the model. Only once the model is loaded."""
        assert self.ready is not None
        return self.ready.talk

    def say(self, text: str) -> None:
        """Write dim lines of the program's own to the terminal, words wrapped whole."""
        note(text, self.screen)

    def replace(self, messages: Sequence[Message]) -> None:
        """Give the conversation other messages."""
        self.talk.messages = list(messages)
        self.used = 0
        self.retries = 0
        self.keep()

    def keep(self) -> None:
        """Keep the messages as they are."""
        if self.kept is not None:
            self.kept.keep(self.talk.messages, self.talk.system)
