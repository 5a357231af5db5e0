"""`zig-ai chat`: a conversation at a terminal, or one message per line from a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import failure, loader, options
from zigai_cli.conversation import template
from zigai_cli.conversation.answer import Settings
from zigai_cli.conversation.ask import ask
from zigai_cli.conversation.interactive import Conversation
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.terminal.output import figure, is_interactive, note
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from zigai_core.api.chat import Chat
    from zigai_core.api.model import Model


@with_load_options()
def chat(
    ctx: typer.Context,
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
    continues: Annotated[
        bool, typer.Option("--continue", "-c", help="Continue the conversation that was held last.")
    ] = False,
    conversation: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--id", metavar="ID", help="Continue the stored conversation of this number or title."),
    ] = None,
    keeps: Annotated[
        bool,
        typer.Option("--history/--no-history", help="Store the conversation; zig-ai history shows it."),
    ] = True,
) -> None:
    """Chat with a model.

    At a terminal, Ctrl-C stops a reply, Ctrl-D leaves, and /help lists the commands. If standard input or
    output is not a terminal, each line of the input is a message (empty lines are skipped, there are no
    commands), each reply is printed as plain text, and --stats prints statistics to standard error.

    Conversations are stored. --continue and --id restore the messages, the system message and the model of
    one, unless --system or --model is given.
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
    from zigai_cli.conversation import (
        history,
        stored,
    )  # imports sqlite3, which takes a tenth of the time of --help

    continued = conversation or ("last" if continues else None)
    begun = history.begin(continued, keeps=keeps)
    source = ctx.get_parameter_source("model")
    if continued is not None and (source is None or source.name != "COMMANDLINE"):
        model = begun.about.model
    loaded = loader.load(model, load)
    talk = loaded.chat(
        system=begun.about.system if system is None else system,
        template=chosen,
        overflow=overflow.value,
        **loader.speculation(speculate, draft, load),
        **variables,
    )
    talk.messages = begun.messages
    if begun.kept is not None:
        begun.kept.about = stored.About(
            history.model_to_store(model or loader.default_name()),
            loaded.descriptor.name,
            settings={**sampling, **({} if max_tokens is None else {"max_tokens": max_tokens})},
        )
    interactive = is_interactive()
    if reasoning is None:
        reasoning = options.Reasoning.DIM if interactive else options.Reasoning.HIDE
    settings = Settings(sampling, max_tokens, reasoning)
    if interactive or show_stats:
        note(heading(loaded, talk), sys.stdout if interactive else sys.stderr)
    if begun.remark is not None and (interactive or sys.stderr.isatty()):
        note(begun.remark, sys.stdout if interactive else sys.stderr)
    if interactive:
        Conversation(talk, settings, show_stats=show_stats is not False, kept=begun.kept).run()
        return
    for line in sys.stdin:
        text = line.rstrip("\r\n")
        if (
            text.strip()
            and ask(talk, text, settings, show_stats=bool(show_stats), kept=begun.kept).interrupted
        ):
            raise typer.Exit(failure.INTERRUPTED)


def heading(model: Model, talk: Chat) -> str:
    """Two lines that name model, backend and chat template."""
    about = model.descriptor
    return (
        f"{about.name} ({about.architecture}, {figure(about.parameters)} parameters) on {model.choice}\n"
        f"template: {talk.template.origin}"
    )
