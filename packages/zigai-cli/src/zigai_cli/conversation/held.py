"""The state of a conversation that is being held."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    defaults: Settings = field(default_factory=Settings)
    """The settings if no option sets any."""

    @property
    def talk(self) -> Chat:
        """The chat with the model. Only once the model is loaded."""
        assert self.ready is not None
        return self.ready.talk

    def say(self, text: str) -> None:
        """Write dim lines of the program's own to the terminal, words wrapped whole."""
        note(text, self.screen)

    def restart(self, messages: Sequence[Message], system: str | None) -> None:
        """Replace the messages and the system message of the chat."""
        self.talk.messages = list(messages)
        self.talk.system = system
        self.used = 0
        self.retries = 0

    def describe(self) -> None:
        """Tell where the conversation is kept what model and settings it has now."""
        if self.kept is not None and self.ready is not None:
            self.kept.describe(self.ready.name, self.ready.about.get("model", ""), self.settings.record())

    def keep(self) -> None:
        """Keep the messages as they are."""
        if self.kept is not None:
            self.describe()
            self.kept.keep(self.talk.messages, self.talk.system)
