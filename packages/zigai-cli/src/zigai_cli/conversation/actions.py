"""The actions of slash commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zigai_cli.conversation import setting, turns
from zigai_cli.conversation.held import Held
from zigai_cli.conversation.slash import Slash, help_text, unknown, usage
from zigai_cli.conversation.turns import text_of
from zigai_cli.terminal.clipboard import copy
from zigai_cli.terminal.output import shortened, size

if TYPE_CHECKING:
    from zigai_core.text.chat_template import Message

NO_HISTORY = (
    "the history is off, by --no-history or the setting history = false, so conversations have no names"
)
_MOST_TOKENS = 200
"""Tokens that /tokens shows; it counts all."""


@dataclass(frozen=True)
class Again:
    """Answer a message again, in place of it and all after it."""

    begin: int
    message: Message


@dataclass(frozen=True)
class Edit:
    """Let the user edit a message, and answer it in place of it and all after it."""

    begin: int
    text: str


@dataclass(frozen=True)
class Switch:
    """Go on with another model."""

    name: str


@dataclass(frozen=True)
class Draft:
    """Put a text at the prompt."""

    text: str


class Leave:
    """Leave the conversation."""


Step = Again | Draft | Edit | Switch | Leave | None
"""What the conversation does after a command; None: it prompts."""


class UsageError(Exception):
    """A command has wrong arguments."""


class Actions:
    """Runs slash commands on a conversation. What they have to say is written to its screen."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._run: dict[str, Callable[[str], Step]] = {
            "help": self._help,
            "system": self._system,
            "set": self._set,
            "model": self._model,
            "show": self._show,
            "regen": self._regen,
            "edit": self._edit,
            "undo": self._undo,
            "save": self._save,
            "load": self._load,
            "stats": self._stats,
            "tokens": self._tokens,
            "clear": self._clear,
            "copy": self._copy,
            "exit": lambda rest: Leave(),
        }

    @staticmethod
    def needs_model(slash: Slash) -> bool:
        """True if the command waits for a model that is being loaded."""
        command = slash.command
        return command is not None and command.name not in ("help", "set", "stats", "exit")

    def run(self, slash: Slash) -> Step:
        """Run a command. Raises what the chat and the history raise."""
        command = slash.command
        if command is None:
            self._held.say(unknown(slash.name))
            return None
        try:
            if slash.argument and not command.arguments:
                raise UsageError
            return self._run[command.name](slash.argument)
        except UsageError:
            self._held.say(usage(command))
            return None

    def _help(self, rest: str) -> Step:
        self._held.say(help_text(size(self._held.screen)[0]))
        return None

    def _system(self, rest: str) -> Step:
        talk = self._held.talk
        if rest:
            text = rest.strip('"').strip() if rest.startswith('"') else rest
            talk.system = text or None
            self._held.keep()
            self._held.say("the system message is set" if text else "there is no system message now")
        else:
            self._held.say(talk.system or "there is no system message; /system TEXT sets one")
        return None

    def _set(self, rest: str) -> Step:
        name, _, value = rest.partition(" ")
        name = name.lower()
        if not name:
            self._held.say(self._listed(setting.names()))
        elif value.strip() or name not in setting.names():
            setting.change(name, value.strip(), self._held.settings, self._held.defaults)
            self._held.say(self._listed([name]))
        else:
            self._held.say(self._listed([name]))
        return None

    def _listed(self, names: list[str]) -> str:
        defaults = None if self._held.ready is None else self._held.ready.defaults
        if defaults is None:
            from zigai_core.contracts.options import SamplingOptions

            defaults = SamplingOptions()
        column = max(map(len, names)) if len(names) > 1 else 0
        return "\n".join(
            f"{name:<{column}} {setting.value(name, self._held.settings, defaults)}" for name in names
        )

    def _model(self, rest: str) -> Step:
        if rest:
            return Switch(rest)
        assert self._held.ready is not None
        self._held.say(self._held.ready.heading)
        return None

    def _show(self, rest: str) -> Step:
        assert self._held.ready is not None
        talk, settings = self._held.talk, self._held.settings
        defaults = self._held.defaults
        own = [name for name in setting.OWN if getattr(settings, name) != getattr(defaults, name)]
        changed = [*settings.sampling, *own]
        fill = f"{self._held.used} of {talk.context} tokens" if self._held.used else f"{talk.context} tokens"
        self._held.say(
            f"{self._held.ready.heading}\ncontext: {fill}\nmessages: {len(talk.messages)}\n"
            f"system message: {talk.system or 'none'}"
        )
        if changed:
            self._held.say(self._listed(changed))
        return None

    def _regen(self, rest: str) -> Step:
        messages = self._held.talk.messages
        begin = turns.begin(messages)
        if begin is None:
            self._held.say("there is no message to answer again")
            return None
        return Again(begin, messages[begin])

    def _edit(self, rest: str) -> Step:
        if rest and (not rest.isdecimal() or int(rest) < 1):
            raise UsageError
        messages = self._held.talk.messages
        begin = turns.begin(messages, int(rest or 1))
        if begin is None:
            count = sum(message["role"] == "user" for message in messages)
            self._held.say(
                f"there is no message {rest} from the end, of {count}" if count else "no message yet"
            )
            return None
        return Edit(begin, text_of(messages[begin]))

    def _undo(self, rest: str) -> Step:
        messages = self._held.talk.messages
        begin = turns.begin(messages)
        if begin is None:
            self._held.say("there is nothing to take back")
            return None
        self._held.restart(messages[:begin], self._held.talk.system)
        self._held.keep()
        self._held.say(f"taken back: {shortened(text_of(messages[begin]), 60)}")
        return None

    def _save(self, rest: str) -> Step:
        if not rest or "\n" in rest:
            raise UsageError
        if self._held.kept is None:
            self._held.say(NO_HISTORY)
        elif not self._held.talk.messages:
            self._held.say("there is nothing to save yet: the conversation has no messages")
        else:
            self._held.keep()
            self._held.kept.rename(rest)
            self._held.say(f"saved as {rest}; /load {rest} goes on with it")
        return None

    def _load(self, rest: str) -> Step:
        if not rest:
            raise UsageError
        if self._held.kept is None:
            self._held.say(NO_HISTORY)
            return None
        opened = self._held.kept.open(rest)
        self._held.restart(opened.messages, opened.system)
        self.recall()
        if opened.model_name not in ("", self._held.ready.about.get("model") if self._held.ready else None):
            way = f"; /model {opened.model} goes on with it" if opened.model else ""
            self._held.say(f"it was held with {opened.model_name}{way}")
        if not opened.unanswered:
            return None
        self._held.say("its last message got no reply; it is at the prompt")
        return Draft(opened.unanswered)

    def recall(self) -> None:
        """Show the last message and its reply, shortened, of a conversation that goes on."""
        messages = self._held.talk.messages
        if messages:
            self._held.say(f"going on with a conversation of {len(messages)} messages, which ends:")
            for message in messages[turns.begin(messages) or 0 :][:1] + messages[-1:]:
                mark = ">" if message["role"] == "user" else " "
                self._held.say(f"{mark} {shortened(text_of(message), 200)}")

    def _stats(self, rest: str) -> Step:
        if rest.lower() not in ("", "on", "off"):
            raise UsageError
        settings = self._held.settings
        settings.stats = rest.lower() == "on" if rest else not settings.stats
        self._held.say(f"statistics are {'on' if settings.stats else 'off'}")
        return None

    def _tokens(self, rest: str) -> Step:
        assert self._held.ready is not None
        tokenizer, talk = self._held.ready.tokenizer, self._held.talk
        if not rest:
            used = self._held.used
            known = f"{used} of {talk.context} tokens of the context are used"
            later = f"the context has {talk.context} tokens; those that are used are counted with a reply"
            self._held.say(known if used else later)
            return None
        tokens = tokenizer.encode(rest)
        shown = " ".join(f"{token}:{tokenizer.token_text(token)!r}" for token in tokens[:_MOST_TOKENS])
        more = f" … and {len(tokens) - _MOST_TOKENS} more" if len(tokens) > _MOST_TOKENS else ""
        self._held.say(f"{len(tokens)} tokens: {shown}{more}")
        return None

    def _clear(self, rest: str) -> Step:
        self._held.restart([], self._held.talk.system)
        if self._held.kept is not None:
            self._held.kept.leave()
        self._held.say("started a new conversation")
        return None

    def _copy(self, rest: str) -> Step:
        reply = turns.last_reply(self._held.talk.messages)
        if reply is None:
            self._held.say("there is no reply to copy")
            return None
        from zigai_core.text.reasoning import split_reasoning

        answer = split_reasoning(reply)[1] or reply
        how = copy(answer, self._held.screen)
        self._held.say(
            f"copied {len(answer)} characters {how}"
            if how
            else "not copied: the reply is too long for the terminal, and none of pbcopy, wl-copy, xclip and "
            "xsel works"
        )
        return None
