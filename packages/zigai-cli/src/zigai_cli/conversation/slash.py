"""Slash commands: their names and usage, and what a typed text means."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

_COMMAND = re.compile(r"/([\w?][\w-]*|\?)(?:\s+(.*))?\Z", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A slash command: its name, its arguments as usage shows them, and a description."""

    name: str
    arguments: str
    about: str
    aliases: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """The command as it is typed: `/set [NAME [VALUE]]`."""
        return f"/{self.name} {self.arguments}".rstrip()


COMMANDS = (
    Command("help", "", "show this help", ("?",)),
    Command("system", "[TEXT]", 'show or set the system message; "" removes it'),
    Command("set", "[NAME [VALUE]]", "show or change settings; VALUE default is the model's own"),
    Command("model", "[NAME]", "show the model, or go on with another one"),
    Command("show", "", "show the model, the system message and the settings that were changed"),
    Command("regen", "", "answer the last message again", ("retry",)),
    Command("edit", "[N]", "edit the last message, or the Nth from the end, and answer it again"),
    Command("undo", "", "take back the last message and its reply"),
    Command("save", "NAME", "give the conversation a name"),
    Command("load", "NAME|ID", "go on with a stored conversation"),
    Command("stats", "[on|off]", "show or hide the line of statistics after a reply"),
    Command("tokens", "[TEXT]", "show the tokens of a text, or how many the conversation has"),
    Command("clear", "", "start a new conversation; the system message is kept", ("reset", "new")),
    Command("copy", "", "copy the last reply to the clipboard"),
    Command("exit", "", "leave, as Ctrl-D does", ("quit", "bye")),
)
NAMES = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}
KEYS = """\
Ctrl-C stops a reply or discards a line, Ctrl-D leaves, Ctrl-R searches earlier messages.
Alt-Enter, or \\ at the end of a line, begins a new line; \"\"\" begins and ends a message of several lines;
Ctrl-X Ctrl-E opens $VISUAL or $EDITOR and sends its text.
//text sends /text; a path such as /usr/bin is sent as it is."""


@dataclass(frozen=True)
class Slash:
    """A command that was typed: its name in small letters, and the rest."""

    name: str
    argument: str

    @property
    def command(self) -> Command | None:
        """The command of this name or alias; None if there is none."""
        return NAMES.get(self.name)


def parse(text: str) -> Slash | str:
    """A typed text as a command, or as the message that it is.

    A command is a slash and a word. `//` begins a message that begins with `/`; a first word with a second
    slash is a path, and a message.

    >>> parse("/SET temperature 0")
    Slash(name='set', argument='temperature 0')
    >>> parse("//set"), parse("/usr/bin is a folder"), parse("/* a comment */")
    ('/set', '/usr/bin is a folder', '/* a comment */')
    """
    if text.startswith("//"):
        return text[1:]
    found = _COMMAND.match(text)
    return text if found is None else Slash(found[1].lower(), (found[2] or "").strip())


def unknown(name: str) -> str:
    """Error text for a command that does not exist, with the nearest one.

    >>> unknown("sytem")
    'there is no command /sytem; did you mean /system? (/help lists the commands, //sytem sends it as text)'
    """
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
    meant = f"; did you mean /{near[0]}?" if near else ";"
    help_ = "(/help lists the commands" if near else "/help lists the commands"
    return f"there is no command /{name}{meant} {help_}, //{name} sends it as text{')' if near else ''}"


def usage(command: Command) -> str:
    """How a command is typed, in one line."""
    return f"usage: {command.usage}: {command.about}"


def help_text(width: int) -> str:
    """All commands with their descriptions, then the keys, for a terminal of `width` columns."""
    column = max(len(command.usage) for command in COMMANDS) + 2
    rows = []
    for command in COMMANDS:
        also = f" (also {', '.join(f'/{name}' for name in command.aliases)})" if command.aliases else ""
        rows.append(_folded(f"{command.usage:<{column}}{command.about}{also}", width, column))
    return "\n".join([*rows, *(_folded(line, width, 0) for line in KEYS.split("\n"))])


def _folded(text: str, width: int, indent: int) -> str:
    import textwrap

    return textwrap.fill(text, max(width - 1, 30), subsequent_indent=" " * indent, break_long_words=False)
