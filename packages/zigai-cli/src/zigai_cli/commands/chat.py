"""`zig-ai chat`: a conversation at a terminal, or one message per line from a pipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import failure, loader, options
from zigai_cli.conversation import template
from zigai_cli.conversation.answer import Settings
from zigai_cli.conversation.ask import ask
from zigai_cli.conversation.interactive import Conversation
from zigai_cli.conversation.loading import Loading, Opener, Progress, Ready
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.terminal.output import figure, note
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from zigai_core.api.chat import Chat
    from zigai_core.api.model import Model


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
    overflow: Annotated[
        Optional[options.Overflow],  # noqa: UP045
        typer.Option(
            help="If the context is full: fail (error), end the reply (stop), or drop the oldest messages "
            "(shift).",
            show_default="shift at a terminal, otherwise stop",
        ),
    ] = None,
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
    plain: Annotated[
        bool, typer.Option("--plain", help="Print replies as they are written: Markdown is not rendered.")
    ] = False,
) -> None:
    """Chat with a model.

    At a terminal, Ctrl-C stops a reply, Ctrl-D leaves, and /help lists the commands. If standard input is
    not a terminal, each line of it is a message (empty lines are skipped, there are no commands), each reply
    is printed as plain text, and --stats prints statistics to standard error.
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
    interactive = sys.stdin.isatty()
    if overflow is None:
        overflow = options.Overflow.SHIFT if interactive else options.Overflow.STOP
    if reasoning is None:
        shown = interactive and sys.stdout.isatty()
        reasoning = options.Reasoning.DIM if shown else options.Reasoning.HIDE
    settings = Settings(
        sampling, max_tokens, reasoning, overflow, stats=show_stats is not False, markdown=not plain
    )

    def open_chat(path: Path, progress: Progress | None) -> Ready:
        chosen = template.choose(template_name)
        loaded = loader.load_file(path, load, progress)
        talk = loaded.chat(
            system=system,
            template=chosen,
            overflow=overflow.value,
            **loader.speculation(speculate, draft, load, progress),
            **variables,
        )
        return Ready(talk, loaded.tokenizer, loaded.sampling, heading(loaded, talk))

    if interactive:
        opener = Opener(loader.choose, open_chat)
        path = (lambda: loader.choose(None)) if model is None else loader.choose(model)
        Conversation(Loading(path, opener), opener, settings).run()
        return
    ready = open_chat(loader.choose(model), None)
    if show_stats:
        note(ready.heading, sys.stderr)
    for line in sys.stdin:
        text = line.rstrip("\r\n")
        if text.strip() and ask(ready.talk, text, settings, show_stats=bool(show_stats)).interrupted:
            raise typer.Exit(failure.INTERRUPTED)


def heading(model: Model, talk: Chat) -> str:
    """Two lines that name model, backend and chat template."""
    about = model.descriptor
    return (
        f"{about.name} ({about.architecture}, {figure(about.parameters)} parameters) on {model.choice}\n"
        f"template: {talk.template.origin}"
    )
