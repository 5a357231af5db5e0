"""A conversation at a terminal: a prompt, commands that begin with a slash, and streamed replies."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zigai_cli import failure
from zigai_cli.conversation import stats
from zigai_cli.conversation.answer import Settings, answer
from zigai_cli.terminal.output import ReplyWriter, note
from zigai_core.contracts.errors import ContextOverflowError, ZigAIError

if TYPE_CHECKING:
    from zigai_cli.conversation.kept import Kept
    from zigai_core.api.chat import Chat

HELP = """\
/reset  start a new conversation; the system message is kept
/quit   leave the program, as Ctrl-D does
/help   show this help
Ctrl-C stops a reply. A line that begins with // is sent as a message that begins with /."""
HOW_TO_LEAVE = "Ctrl-D or /quit leaves the program"


class Conversation:
    """One conversation. The KV cache is kept between its turns."""

    def __init__(
        self, talk: Chat, settings: Settings, *, show_stats: bool = True, kept: Kept | None = None
    ) -> None:
        self._talk = talk
        self._settings = settings
        self._shows_stats = show_stats
        self._kept = kept

    def run(self) -> None:
        """Answer what is typed, line by line, until /quit or Ctrl-D."""
        note("/help lists the commands; Ctrl-C stops a reply, Ctrl-D leaves")
        for text in _typed_lines():
            command = re.fullmatch(r"/([a-z]\w*)\s*", text)
            if command is None:
                try:
                    self.answer(text[1:] if text.startswith("//") else text)
                except ContextOverflowError as error:
                    note(f"error: {failure.describe(error)}; /reset starts a new conversation")
                except ZigAIError as error:
                    note(f"error: {failure.describe(error)}")
                except KeyboardInterrupt:  # Ctrl-C for a reply that had just ended
                    note(HOW_TO_LEAVE)
            elif command[1] in ("quit", "exit"):
                return
            elif command[1] == "reset":
                self._talk.reset()
                if self._kept is not None:
                    self._kept.keep([], self._talk.system)
                note("started a new conversation")
            elif command[1] == "help":
                note(HELP)
            else:
                note(f"there is no command /{command[1]}; /help lists the commands")

    def answer(self, text: str) -> None:
        """Write the reply to a message as it is generated."""
        answered = answer(self._talk, text, self._settings, ReplyWriter(sys.stdout, spinner=True), self._kept)
        reply = answered.reply
        for remark in answered.remarks(self._settings):
            note(f"({remark})")
        if reply.finish_reason == "context":
            note("/reset starts a new conversation")
        if self._shows_stats and reply.tokens:
            note(stats.line(reply))


def _typed_lines() -> Iterator[str]:
    """Lines typed at the prompt, without empty ones, until Ctrl-D."""
    with contextlib.suppress(ImportError):  # missing on Windows
        import readline  # noqa: F401 - importing it gives input() line editing and a history
    while True:
        try:
            if sys.stdout.isatty():
                text = input("> ").strip()
            else:  # the prompt must not land in a pipe
                sys.stderr.write("> ")
                sys.stderr.flush()
                text = input("").strip()
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            note(HOW_TO_LEAVE)
            continue
        except UnicodeDecodeError as error:
            note(f"error: {failure.describe(error)}")
            continue
        if text:
            yield text
