"""One message and one answer, for a shell."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from zigai_cli import stats
from zigai_cli.conversation.answer import Answer, Settings, answer
from zigai_cli.failure import FAILED, INTERRUPTED
from zigai_cli.terminal.output import ReplyWriter, note

if TYPE_CHECKING:
    from zigai_cli.conversation.loading import Ready
    from zigai_cli.conversation.notebook import Notebook
    from zigai_core.api.reply import Reply


class Silence:
    """A writer that shows nothing, for a reply that is printed at its end."""

    def wait(self) -> None:
        """Show nothing."""

    def write(self, piece: str, *, aside: bool = False) -> None:
        """Show nothing."""

    def end(self, *, interrupted: bool = False) -> None:
        """Show nothing."""


def ask(
    ready: Ready,
    text: str,
    settings: Settings,
    *,
    show_stats: bool,
    as_json: bool = False,
    kept: Notebook | None = None,
) -> int:
    """Write the answer to standard output and return the exit code.

    Remarks and statistics go to standard error. With `as_json` one JSON object is printed at the end instead
    of the text.
    """
    writer = Silence() if as_json else ReplyWriter(sys.stdout, spinner=sys.stdout.isatty())
    answered = answer(ready.talk, text, settings, writer, kept)
    if as_json:
        sys.stdout.write(json.dumps({**ready.about, **_record(answered)}) + "\n")
    for remark in [] if answered.interrupted else answered.remarks(settings):
        note(f"({remark})", sys.stderr)
    if show_stats and answered.reply.tokens:
        note(stats.line(answered.reply), sys.stderr)
    return exit_code(answered.reply, interrupted=answered.interrupted)


def exit_code(reply: Reply, *, interrupted: bool) -> int:
    """Exit code for a reply that has ended: `FAILED` if the context cut it, `INTERRUPTED` after Ctrl-C."""
    if interrupted:
        return INTERRUPTED
    return FAILED if reply.finish_reason == "context" else 0


def _record(answered: Answer) -> dict[str, object]:
    reply = answered.reply
    return {
        "text": reply.text,
        "answer": reply.answer,
        "reasoning": reply.reasoning,
        "tokens": reply.tokens,
        "finish_reason": reply.finish_reason,
        "stats": stats.record(reply),
    }
