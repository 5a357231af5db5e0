"""The prompt of a conversation: editing, history, completion, and messages of several lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from prompt_toolkit.application import create_app_session, get_app, run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_input
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.shortcuts import PromptSession

from zigai_cli.conversation.completion import Arguments, SlashCompleter
from zigai_cli.conversation.typed_history import TypedHistory
from zigai_cli.failure import InputError, describe
from zigai_cli.terminal.editor import edit_text
from zigai_cli.terminal.keyboard import Hangup, as_line
from zigai_cli.terminal.output import clean, note
from zigai_cli.terminal.pastes import read_pastes_fast

if TYPE_CHECKING:
    from zigai_cli.conversation.loading import Loading

QUOTES = '"""'
LONG_PASTE = 20_000
"""Characters of a paste above which the prompt shows a placeholder instead of its text."""
_POLL_SECONDS = 0.05


class Leaving(Exception):  # noqa: N818 - not a fault
    """Ctrl-D at an empty prompt."""


def is_open(text: str) -> bool:
    r"""True if a message goes on in the next line: it ends with a backslash, or its quotes are open.

    >>> is_open('\"\"\"one'), is_open('\"\"\"one\ntwo\"\"\"'), is_open("one\\"), is_open("one")
    (True, False, True, False)
    """
    stripped = text.strip()
    if stripped.startswith(QUOTES):
        return len(stripped) < 2 * len(QUOTES) or not stripped.endswith(QUOTES)
    return text.endswith("\\") and not text.endswith("\\\\")


def unquoted(text: str) -> str:
    r"""The message that was typed: without the quotes around it, and without spaces at its ends.

    >>> unquoted('\"\"\"\n  one\ntwo\n\"\"\"')
    '  one\ntwo'
    """
    stripped = text.strip()
    if stripped.startswith(QUOTES) and not is_open(stripped):
        return stripped[len(QUOTES) : -len(QUOTES)].strip("\n").rstrip()
    return stripped


class Prompt:
    """Reads messages at a terminal, whose screen is written through `screen`.

    What is typed is stored in the file `history`; for None it is forgotten at the end.
    """

    def __init__(self, screen: TextIO, history: Path | None, arguments: Arguments) -> None:
        self._screen = screen
        self._output = create_output(stdout=screen)
        if isinstance(self._output, Vt100_Output):
            self._output.enable_cpr = False  # the answer of a terminal could come during a reply
        self._input = create_input()
        read_pastes_fast(self._input)
        self._pastes: dict[str, str] = {}
        self._edits = False  # while an editor runs
        self._label: Callable[[], str] = lambda: "> "
        self._session: PromptSession[str] = PromptSession(
            lambda: self._label(),
            multiline=True,
            prompt_continuation=self._continuation,
            history=InMemoryHistory() if history is None else TypedHistory(history, self._with_pastes),
            completer=SlashCompleter(arguments),
            complete_while_typing=Condition(self._is_command),
            key_bindings=self._bindings(),
            enable_suspend=True,
            input=self._input,
            output=self._output,
            include_default_pygments_style=False,
        )

    @property
    def is_dumb(self) -> bool:
        """True if the terminal cannot move its cursor."""
        from prompt_toolkit.utils import is_dumb_terminal

        return is_dumb_terminal()

    def ask(
        self, label: str, *, default: str = "", loading: Loading | None = None, ready: Callable[[], None]
    ) -> str:
        """Return what is typed. Raises `Leaving`, `KeyboardInterrupt` for Ctrl-C, and `Hangup`.

        While `loading` is not done, the prompt shows its progress; then `ready` is called, which may write
        lines. An error of loading is raised at once.
        """
        waiting = loading if loading is not None and not loading.done else None

        def shown() -> str:
            if waiting is None or waiting.done or get_app().is_done:
                return label
            return f"{waiting.text} {label}"

        self._label = shown

        def watch() -> None:
            if waiting is not None:
                get_app().create_background_task(_watch(waiting, ready))

        try:
            with create_app_session(self._input, self._output), patch_stdout(raw=True):
                text = self._session.prompt(default=default, pre_run=watch)
        except EOFError as error:
            raise Hangup from error
        # Bytes that are not UTF-8 were read as lone surrogates.
        return self._with_pastes(text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """The text at the prompt, or the last one that was sent from it."""
        return self._session.default_buffer.text

    def typed_ahead(self) -> str:
        """Text that came in one piece with the last message, after its end."""
        return as_line("".join(key.data for key in get_typeahead(self._input)))

    async def _edit(self, buffer: Buffer) -> None:
        """Let the user's editor write the message, and send it if it was changed."""
        before = self._with_pastes(buffer.text)
        self._edits = True
        try:
            text = await run_in_terminal(lambda: edit_text(before), in_executor=True)
        except (InputError, OSError) as error:
            said = describe(error)
            await run_in_terminal(lambda: note(f"error: {said}", self._screen))
            return
        finally:
            self._edits = False
        if not text.strip() or text == before:
            return
        buffer.text = text.removesuffix("\n")
        if "\ufffd" in text and "\ufffd" not in before:
            await run_in_terminal(lambda: note("bytes that are not UTF-8 were replaced", self._screen))
        else:
            buffer.validate_and_handle()

    def _with_pastes(self, text: str) -> str:
        """The text with the long pastes in place of their placeholders."""
        for placeholder, pasted in self._pastes.items():
            text = text.replace(placeholder, pasted)
        return text

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")

    @staticmethod
    def _continuation(width: int, line: int, is_soft_wrap: int) -> str:
        return "" if is_soft_wrap else ". ".rjust(min(width, 6))

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()
        searching = Condition(lambda: get_app().layout.is_searching)

        @keys.add("c-x", "c-e")
        def _(event: KeyPressEvent) -> None:
            event.app.create_background_task(self._edit(event.current_buffer))

        @keys.add("enter", filter=~searching)
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if not is_open(buffer.text) or not buffer.document.is_cursor_at_the_end:
                if is_open(buffer.text):
                    buffer.insert_text("\n")
                else:
                    buffer.validate_and_handle()
                return
            if buffer.text.endswith("\\") and not buffer.text.lstrip().startswith(QUOTES):
                buffer.delete_before_cursor()
            buffer.insert_text("\n")

        @keys.add(Keys.SIGINT, filter=Condition(lambda: self._edits))
        def _(event: KeyPressEvent) -> None:
            """Ignore it: Ctrl-C is the editor's."""

        @keys.add(Keys.Vt100MouseEvent)
        @keys.add(Keys.WindowsMouseEvent)
        def _(event: KeyPressEvent) -> None:
            """Ignore it: the mouse is the terminal's, and a pasted colour sequence looks like an event."""

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-d", filter=Condition(lambda: not get_app().current_buffer.text))
        def _(event: KeyPressEvent) -> None:
            event.app.exit(exception=Leaving)

        @keys.add(Keys.BracketedPaste)
        def _(event: KeyPressEvent) -> None:
            text = clean(event.data.replace("\r\n", "\n").replace("\r", "\n"))
            if len(text) > LONG_PASTE:
                shown = f"[paste {len(self._pastes) + 1}: {len(text)} characters]"
                self._pastes[shown], text = text, shown
            # After lines, typing goes on below them; a single line is not ended.
            event.current_buffer.insert_text(text if "\n" in text[:-1] else text.removesuffix("\n"))

        return keys


async def _watch(loading: Loading, ready: Callable[[], None]) -> None:
    """Start to load once the prompt is on the screen, show the progress, and report the end."""
    app = get_app()
    loading.start()
    shown = loading.text
    while not loading.done:
        await asyncio.sleep(_POLL_SECONDS)
        if loading.text != shown:
            shown = loading.text
            app.invalidate()
    try:
        loading.result()
    except BaseException as error:
        if app.is_running and not app.is_done:
            app.exit(exception=error)
        return
    await run_in_terminal(ready)
