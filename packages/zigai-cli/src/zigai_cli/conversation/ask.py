"""One message and one answer, for a shell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from zigai_cli.conversation import stats
from zigai_cli.conversation.answer import Answer, Settings, answer
from zigai_cli.terminal.output import ReplyWriter, note

if TYPE_CHECKING:
    from zigai_cli.conversation.kept import Kept
    from zigai_core.api.chat import Chat


def ask(talk: Chat, text: str, settings: Settings, *, show_stats: bool, kept: Kept | None = None) -> Answer:
    """Write the answer to standard output; remarks and statistics go to standard error."""
    answered = answer(talk, text, settings, ReplyWriter(sys.stdout, spinner=sys.stdout.isatty()), kept)
    for remark in [] if answered.interrupted else answered.remarks(settings):
        note(f"({remark})", sys.stderr)
    if show_stats and answered.reply.tokens:
        note(stats.line(answered.reply), sys.stderr)
    return answered
