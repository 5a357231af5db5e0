"""Completion of slash commands and their arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from zigai_cli.conversation import setting
from zigai_cli.conversation.slash import COMMANDS, NAMES
from zigai_cli.terminal.output import clean

Arguments = Mapping[str, Callable[[str], Iterable[str]]]
"""Functions, by the name of a command, that list its arguments which begin with a text."""


class SlashCompleter(Completer):
    """Completes the words of a line that begins with a slash. Other lines have no completions."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Completions of the word before the cursor."""
        text = document.text_before_cursor
        if not text.startswith("/") or text.startswith("//") or "\n" in text:
            return
        name, space, argument = text[1:].partition(" ")
        if not space:
            for command in COMMANDS:
                for word in (command.name, *command.aliases):
                    if word.startswith(name.lower()) and (word == command.name or name):
                        yield Completion(
                            f"/{word}",
                            start_position=-len(text),
                            display=f"/{word} {command.arguments}".rstrip(),
                            display_meta=command.about,
                        )
            return
        found = NAMES.get(name.lower())
        if found is not None:
            yield from self._of_arguments(found.name, argument)

    def _of_arguments(self, name: str, argument: str) -> Iterable[Completion]:
        words: Iterable[str]
        if name == "set":
            first, space, argument_of_set = argument.partition(" ")
            words = setting.values_of(first) if space else setting.names()
            argument = argument_of_set if space else first
            words = (word for word in words if word.startswith(argument.lower()))
        elif name == "stats":
            words = (word for word in ("on", "off") if word.startswith(argument.lower()))
        elif name in self._arguments:
            words = self._arguments[name](argument)
        else:
            return
        for word in words:
            yield Completion(word, start_position=-len(argument), display=clean(word))
