"""`zig-ai chat`: a conversation at a terminal, or one message per line from a pipe."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import failure, loader, options, stats, template
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.reply import Reply
from zigai_cli.terminal import ReplyWriter, figure, is_interactive, note
from zigai_core.contracts.errors import ContextOverflowError, ZigAIError
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from zigai_core.api.chat import Chat
    from zigai_core.api.model import Model
    from zigai_core.api.reply import ChatReply
    from zigai_core.contracts.options import SamplingOptions
    from zigai_core.text.reasoning import Part

HELP = """\
/reset  start a new conversation; the system message is kept
/quit   leave the program, as Ctrl-D does
/help   show this help
Ctrl-C stops a reply. A line that begins with // is sent as a message that begins with /."""
HOW_TO_LEAVE = "Ctrl-D or /quit leaves the program"


@with_load_options()
def chat(
    model: options.Model = None,
    system: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="TEXT", help="System message: instructions before the conversation."),
    ] = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repeat_penalty: options.RepeatPenalty = None,
    seed: options.Seed = None,
    further_sampling: options.SamplingOption = None,
    max_tokens: options.MaxTokens = None,
    overflow: options.OverflowChoice = options.Overflow.STOP,
    template_name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--template",
            metavar="NAME_OR_FILE",
            help="Chat template: the name of a registered one, or a file with a Jinja template.",
            show_default="the model's own",
        ),
    ] = None,
    keywords: options.TemplateKeywords = None,
    reasoning: Annotated[
        Optional[options.Reasoning],  # noqa: UP045
        typer.Option(
            help="Reasoning (<think>…</think>) before an answer: print it dim, as it is (show), or hide it.",
            show_default="dim at a terminal, otherwise hide",
        ),
    ] = None,
    speculate: options.SpeculateChoice = options.Speculate.OFF,
    draft: options.Draft = None,
    load: LoadOptions = DEFAULTS,
    show_stats: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            "--stats/--no-stats",
            help="Show speed and context use after each reply.",
            show_default="at a terminal",
        ),
    ] = None,
) -> None:
    """Chat with a model.

    At a terminal, Ctrl-C stops a reply, Ctrl-D leaves, and /help lists the commands. If standard input or
    output is not a terminal, each line of the input is a message (empty lines are skipped, there are no
    commands), each reply is printed as plain text, and --stats prints statistics to standard error.
    """
    sampling = options.sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        seed=seed,
        further=further_sampling,
    )
    variables = options.template_keywords(keywords)
    chosen = template.choose(template_name)
    loaded = loader.load(model, load)
    talk = loaded.chat(
        system=system,
        template=chosen,
        overflow=overflow.value,
        **loader.speculation(speculate, draft, load),
        **variables,
    )
    interactive = is_interactive()
    if reasoning is None:
        reasoning = options.Reasoning.DIM if interactive else options.Reasoning.HIDE
    conversation = Conversation(talk, sampling, max_tokens, interactive, show_stats, reasoning)
    if interactive or show_stats:
        note(heading(loaded, talk), sys.stdout if interactive else sys.stderr)
    if interactive:
        note("/help lists the commands; Ctrl-C stops a reply, Ctrl-D leaves")
        conversation.at_terminal()
    else:
        conversation.from_lines(sys.stdin)


def heading(model: Model, talk: Chat) -> str:
    """Two lines that name model, backend and chat template."""
    about = model.descriptor
    return (
        f"{about.name} ({about.architecture}, {figure(about.parameters)} parameters) on {model.choice}\n"
        f"template: {talk.template.origin}"
    )


class Conversation:
    """One conversation. The KV cache is kept between its turns."""

    def __init__(
        self,
        talk: Chat,
        sampling: SamplingOptions,
        max_tokens: int | None,
        interactive: bool,
        show_stats: bool | None,
        reasoning: options.Reasoning,
    ) -> None:
        self._talk = talk
        self._sampling = sampling
        self._max_tokens = max_tokens
        self._interactive = interactive
        self._reasoning = reasoning
        self._shows_stats = interactive if show_stats is None else show_stats
        # In a pipe, standard output holds nothing but the model's text.
        self._aside = sys.stdout if interactive else sys.stderr

    def at_terminal(self) -> None:
        """Answer what is typed, line by line, until /quit or Ctrl-D."""
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
                note("started a new conversation")
            elif command[1] == "help":
                note(HELP)
            else:
                note(f"there is no command /{command[1]}; /help lists the commands")

    def from_lines(self, lines: Iterator[str]) -> None:
        """Answer each line. Raises `typer.Exit` if a reply is interrupted."""
        for line in lines:
            text = line.rstrip("\r\n")
            if text.strip() and self.answer(text):
                raise typer.Exit(failure.INTERRUPTED)

    def answer(self, text: str) -> bool:
        """Write the reply to a message as it is generated. Returns True if it was interrupted."""
        writer = ReplyWriter(sys.stdout, spinner=self._interactive)
        read = _as_written if self._reasoning is options.Reasoning.SHOW else _in_parts
        reply = Reply(
            lambda: self._talk.send(text, sampling=self._sampling, max_tokens=self._max_tokens), read
        )
        hides = self._reasoning is options.Reasoning.HIDE
        try:
            with reply:
                for part in reply:
                    if part is None or (part.reasoning and hides):
                        writer.wait()
                    else:
                        writer.write(part.text, aside=part.reasoning)
        finally:
            writer.end(interrupted=reply.interrupted)
        generation = reply.generation
        ending = stats.ending(generation)
        if self._interactive and generation.finish_reason == "context":
            ending += "; /reset starts a new conversation"
        if ending and (self._interactive or generation.finish_reason == "context"):
            note(f"({ending})", self._aside)
        if hides and generation.reasoning and not generation.answer:
            note("(the reply is only reasoning, which is hidden; --reasoning show prints it)", self._aside)
        if self._shows_stats and generation.tokens:
            note(stats.line(generation), self._aside)
        return reply.interrupted


def _in_parts(reply: ChatReply) -> Iterator[Part]:
    return reply.parts()


def _as_written(reply: ChatReply) -> Iterator[Part]:
    from zigai_core.text.reasoning import Part

    return (Part(piece, reasoning=False) for piece in reply)


def _typed_lines() -> Iterator[str]:
    """Lines typed at the prompt, without empty ones, until Ctrl-D."""
    with contextlib.suppress(ImportError):  # missing on Windows
        import readline  # noqa: F401 - importing it gives input() line editing and a history
    while True:
        try:
            text = input("> ").strip()
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
