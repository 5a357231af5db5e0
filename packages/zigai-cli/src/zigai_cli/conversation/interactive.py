"""A conversation at a terminal: a prompt, slash commands, and streamed replies."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

import typer

from zigai_cli import failure, stats
from zigai_cli.conversation.actions import Actions, Again, Draft, Edit, Leave, Step, Switch
from zigai_cli.conversation.answer import Settings, Writer, answer
from zigai_cli.conversation.held import Held
from zigai_cli.conversation.loading import Loading, Opener
from zigai_cli.conversation.slash import Slash, parse
from zigai_cli.options import Overflow
from zigai_cli.suggestions import MODEL_SUFFIXES
from zigai_cli.terminal import keyboard
from zigai_cli.terminal.keyboard import Hangup, Keyboard
from zigai_cli.terminal.listening import Listening
from zigai_cli.terminal.output import ReplyWriter, has_colour, screen
from zigai_cli.terminal.status import StatusLine
from zigai_core.contracts.errors import ContextOverflowError, ZigAIError

if TYPE_CHECKING:
    from zigai_cli.conversation.notebook import Notebook
    from zigai_cli.conversation.prompt import Prompt
    from zigai_core.text.chat_template import Message

HOW_TO_LEAVE = "Ctrl-D or /exit leaves the program"
_WAYS_ON = "/clear starts a new conversation, /set overflow shift drops its oldest messages"
HUNG_UP = 129
"""Exit code after the terminal was closed: 128 plus the number of SIGHUP, as in shells."""


class Conversation:
    """A conversation at a terminal. The prompt appears before the model is loaded.

    Replies are written to standard output. All else is written to the terminal, also if standard output is
    a pipe.
    """

    def __init__(
        self,
        loading: Loading,
        opener: Opener,
        settings: Settings,
        *,
        defaults: Settings | None = None,
        kept: Notebook | None = None,
        typed: Path | None = None,
        remark: str = "",
        draft: str = "",
        model_names: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Prepare the conversation.

        `defaults` are the settings if no option sets any. `kept` is where the conversation is kept, and
        `typed` the file of typed messages. `remark` is shown first, `draft` is the text of the first prompt,
        and `model_names` gives names that `/model` completes.
        """
        self._loading = loading
        self._opener = opener
        self._screen: TextIO = screen()
        self._held = Held(settings, self._screen, kept, defaults=defaults or Settings())
        self._actions = Actions(self._held)
        self._typed = typed
        self._remark = remark
        self._next = draft
        self._model_names = model_names
        self._known_models: list[str] | None = None

    def run(self) -> None:
        """Answer what is typed until it is left. Raises the error of loading, and `typer.Exit`."""
        code = 0
        with Keyboard(self._screen) as keys:
            try:
                if self._remark:
                    self._held.say(self._remark)
                self._held.say("/help lists the commands; Ctrl-C stops a reply, Ctrl-D leaves")
                self._converse(keys, self._new_prompt())
            except Hangup:
                code = HUNG_UP
            except KeyboardInterrupt:
                if self._loading.done:
                    raise
                code = failure.INTERRUPTED
            except OSError as error:
                if error.errno != errno.EIO:  # of a terminal that was closed
                    raise
                code = HUNG_UP
            if not self._loading.done:
                self._leave_now(code)
        if code:
            raise typer.Exit(code)

    def _leave_now(self, code: int) -> NoReturn:
        """End the process although the model is being loaded, which cannot be interrupted."""
        try:
            sys.stdout.flush()
            self._screen.flush()
        except OSError:
            pass  # the terminal was closed
        keyboard.leave(code)

    def _new_prompt(self) -> Prompt:
        from zigai_cli.conversation.prompt import Prompt  # prompt_toolkit takes long to import

        kept = self._held.kept
        stored = (lambda text: _beginning(text, kept.names())) if kept else (lambda text: ())
        arguments = {"model": self._models, "load": stored}
        return Prompt(self._screen, self._typed, arguments)

    def _models(self, text: str) -> Iterable[str]:
        if self._known_models is None:
            self._known_models = list(self._model_names())
        yield from _beginning(text, self._known_models)
        folder, _, name = text.rpartition("/")
        try:
            found = sorted(Path(folder + "/" if folder or text[:1] == "/" else ".").expanduser().iterdir())
        except (OSError, RuntimeError):
            return
        for path in found:
            fits = path.name.startswith(name) and (name or not path.name.startswith("."))
            if fits and (path.is_dir() or path.suffix.lower() in MODEL_SUFFIXES):
                yield f"{text[: len(text) - len(name)]}{path.name}{'/' if path.is_dir() else ''}"

    def _converse(self, keys: Keyboard, prompt: Prompt) -> None:
        from zigai_cli.conversation.prompt import Leaving, unquoted

        if prompt.is_dumb:
            self._loading.start()
            self._wait(keys)
        while True:
            default, self._next = self._next, ""
            typed = ""
            if self._loading.done:
                self._announce()
            try:
                typed = prompt.ask(
                    self._label(), default=default, loading=self._loading, ready=self._announce
                )
                text = unquoted(typed)
                quoted = typed.lstrip().startswith('"""')
                step = self._do(text if quoted else parse(text), keys) if text else None
                while isinstance(step, Edit):
                    step = self._edit(step, prompt)
                if isinstance(step, Leave):
                    return
                if step is not None:
                    self._take(step, keys)
            except Leaving:
                return
            except KeyboardInterrupt:
                if not self._loading.done and not prompt.text:
                    raise
                waited = typed if self._held.ready is None else ""  # it was sent, and waited for the model
                self._held.say("the message is at the prompt again" if waited else HOW_TO_LEAVE)
                self._next = waited
            except ContextOverflowError as error:
                self._held.say(f"error: {failure.describe(error)}")
                if self._held.settings.overflow is not Overflow.SHIFT:
                    self._held.say(_WAYS_ON)
            except (ZigAIError, MemoryError) as error:
                if self._held.ready is None:
                    raise
                self._held.say(f"error: {failure.describe(error)}")
            keys.read()
            ahead = prompt.typed_ahead() + keys.take()
            # Another message goes below the text, and letters behind it.
            self._next += ("\n" if self._next and "\n" in ahead else "") + ahead
            # A line that was ended is not sent; what is typed after it goes below it.
            ended = self._next.endswith("\n")
            self._next = self._next.rstrip("\n")
            self._next += "\n" if self._next and ended else ""

    def _do(self, typed: Slash | str, keys: Keyboard) -> Step:
        if isinstance(typed, Slash):
            if self._actions.needs_model(typed):
                self._wait(keys)
            return self._actions.run(typed)
        self._wait(keys)
        self._held.retries = 0
        self._answer(typed, keys)
        return None

    def _edit(self, step: Edit, prompt: Prompt) -> Step:
        """Let the user change a message. Ctrl-C and an empty text leave it as it is."""
        from zigai_cli.conversation.prompt import Leaving, unquoted

        try:
            text = unquoted(prompt.ask("edit > ", default=step.text, ready=self._announce))
        except (KeyboardInterrupt, Leaving):
            text = ""
        if not text:
            self._held.say("the message is as it was")
            return None
        return Again(step.begin, {"role": "user", "content": text})

    def _take(self, step: Step, keys: Keyboard) -> None:
        if isinstance(step, Switch):
            self._switch(step.name, keys)
        elif isinstance(step, Draft):
            self._next = step.text
        elif isinstance(step, Again):
            before, kept = self._held.talk.messages, self._held.kept
            dropped = 0 if kept is None else kept.dropped
            same = step.message == before[step.begin]
            self._held.retries = self._held.retries + 1 if same else 0
            self._held.talk.messages = before[: step.begin]
            try:
                self._answer(step.message, keys)
            except BaseException:
                self._held.talk.messages = before
                if kept is not None:
                    kept.dropped = dropped
                self._held.keep()
                raise

    def _label(self) -> str:
        held = self._held
        if held.ready is None or not held.used or held.settings.stats:
            return "> "
        return f"{held.used}/{held.talk.context} > "

    def _answer(self, message: str | Message, keys: Keyboard) -> None:
        """Write the reply to a message as it is generated."""
        held = self._held
        writer = Listening(self._writer(), keys)
        held.describe()
        answered = answer(held.talk, message, self._settings(), writer, held.kept)
        reply = answered.reply
        held.used = reply.context_used
        for remark in answered.remarks(held.settings):
            self._held.say(f"({remark})")
        if reply.finish_reason == "context":
            self._held.say(_WAYS_ON)
        if held.settings.stats and reply.tokens:
            self._held.say(stats.line(reply))

    def _settings(self) -> Settings:
        """The settings of a reply. With a fixed seed, each further reply to a message has the next one."""
        settings = self._held.settings
        seed = settings.sampling.get("seed")
        if seed is None or not self._held.retries:
            return settings
        return replace(settings, sampling={**settings.sampling, "seed": seed + self._held.retries})

    def _writer(self) -> Writer:
        if self._held.settings.markdown and has_colour(sys.stdout):
            from zigai_cli.terminal.markdown import MarkdownWriter  # rich takes long to import

            return MarkdownWriter(sys.stdout)
        return ReplyWriter(sys.stdout, spinner=sys.stdout.isatty())

    def _switch(self, name: str, keys: Keyboard) -> None:
        """Go on with another model; the messages stay."""
        loading = Loading(self._opener, self._opener.choose(name))
        loading.start()
        try:
            self._show_progress(loading, keys)
        except KeyboardInterrupt:
            self._held.say("the model was not changed")
            return
        ready = loading.result()
        ready.talk.messages = self._held.talk.messages
        ready.talk.system = self._held.talk.system
        self._held.ready = ready
        self._held.used = 0
        self._introduce()
        self._held.keep()

    def _wait(self, keys: Keyboard) -> None:
        """Wait for the model. Raises the error of loading."""
        if self._held.ready is None:
            self._show_progress(self._loading, keys)
            self._announce()

    def _show_progress(self, loading: Loading, keys: Keyboard) -> None:
        with StatusLine(self._screen) as status:
            if not status.moves and not loading.done:
                self._held.say(loading.text)
            while not loading.wait(0.1):
                keys.read()
                status.show(loading.text)

    def _announce(self) -> None:
        """Take the loaded model, and name it."""
        if self._held.ready is None:
            self._held.ready = self._loading.result()
            self._introduce()
            self._actions.recall()

    def _introduce(self) -> None:
        """Name the model."""
        ready = self._held.ready
        assert ready is not None
        self._held.say("\n".join([*ready.remarks, ready.heading]))


def _beginning(text: str, names: Iterable[str]) -> Iterable[str]:
    return (name for name in names if name.startswith(text))
