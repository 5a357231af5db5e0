"""One message of a chat and the reply to it, written as it is generated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from zigai_cli import stats
from zigai_cli.options import Overflow, Reasoning
from zigai_cli.running import Running

if TYPE_CHECKING:
    from zigai_cli.conversation.notebook import Notebook
    from zigai_core.api.chat import Chat
    from zigai_core.api.reply import ChatReply
    from zigai_core.text.chat_template import Message
    from zigai_core.text.reasoning import Part


@dataclass
class Settings:
    """How replies are generated and shown."""

    sampling: dict[str, Any] = field(default_factory=dict)
    """Sampling options by name, which replace the model's own defaults."""
    max_tokens: int | None = None
    reasoning: Reasoning = Reasoning.DIM
    overflow: Overflow = Overflow.STOP
    """Action when the context is full."""
    stats: bool = True
    """Whether a line of statistics follows each reply of a conversation."""
    markdown: bool = True
    """Whether Markdown is rendered at a terminal with colours."""

    def record(self) -> dict[str, Any]:
        """What replies depend on, as values for JSON; what has its default is left out."""
        return {**self.sampling, **({} if self.max_tokens is None else {"max_tokens": self.max_tokens})}

    def options(self) -> dict[str, Any]:
        """Keywords of `Chat.send`."""
        return {"max_tokens": self.max_tokens, "overflow": self.overflow.value, **self.sampling}


class Writer(Protocol):
    """Writes the pieces of a reply."""

    def wait(self) -> None:
        """Called about ten times a second while no piece arrives."""
        ...

    def write(self, piece: str, *, aside: bool = False) -> None:
        """Writes a piece; `aside` is reasoning."""
        ...

    def end(self, *, interrupted: bool = False) -> None:
        """Ends the reply."""
        ...


@dataclass(frozen=True)
class Answer:
    """A reply that has ended, and whether Ctrl-C ended it."""

    reply: ChatReply
    interrupted: bool

    def remarks(self, settings: Settings) -> list[str]:
        """Why the reply is shorter than the model's, if it is, each as a line."""
        found = [stats.ending(self.reply)]
        if settings.reasoning is Reasoning.HIDE and self.reply.reasoning and not self.reply.answer:
            found.append("the reply is only reasoning, which is hidden; --reasoning show prints it")
        return [remark for remark in found if remark]


def answer(
    talk: Chat, message: str | Message, settings: Settings, writer: Writer, kept: Notebook | None = None
) -> Answer:
    """Send a message and write the reply as it is generated. Raises what `Chat.send` raises.

    `kept` stores the message before the reply begins, and the reply with its statistics when it has ended.
    """
    earlier = talk.messages
    if kept is not None:
        sent: Message = {"role": "user", "content": message} if isinstance(message, str) else message
        kept.keep([*earlier, sent], talk.system)

    def send() -> ChatReply:
        begun = talk.send(message, **settings.options())
        if kept is not None:
            kept.dropped += len(earlier) + 1 - len(talk.messages)  # the last of them is the message
        return begun

    read = _as_written if settings.reasoning is Reasoning.SHOW else _in_parts
    reply = Running(send, read)
    hides = settings.reasoning is Reasoning.HIDE
    try:
        with reply:
            for part in reply:
                if part is None or (part.reasoning and hides):
                    writer.wait()
                else:
                    writer.write(part.text, aside=part.reasoning)
    finally:
        writer.end(interrupted=reply.interrupted)
    if kept is not None:
        kept.keep(talk.messages, talk.system)
        kept.count(stats.record(reply.generation))
    return Answer(reply.generation, reply.interrupted)


def _in_parts(reply: ChatReply) -> Iterator[Part]:
    return reply.parts()


def _as_written(reply: ChatReply) -> Iterator[Part]:
    from zigai_core.text.reasoning import Part

    return (Part(piece, reasoning=False) for piece in reply)
