"""`zig-ai chat`: a conversation at a terminal, or one message and its answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import input_text, loader, options, places, suggestions
from zigai_cli.conversation.answer import Settings
from zigai_cli.conversation.ask import ask
from zigai_cli.conversation.chat_opener import ChatOpener
from zigai_cli.conversation.interactive import Conversation
from zigai_cli.conversation.loading import Loading, Located
from zigai_cli.failure import InputError
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.terminal.output import clean, note, shortened
from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from zigai_cli.conversation.notebook import Opened

TYPED = "typed"
"""File of the typed messages, in the folder of the user's data."""
_NO_PROMPT = "no prompt, and standard input is empty: give one as an argument or through standard input"


@with_load_options()
def chat(
    ctx: typer.Context,
    words: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="PROMPT",
            help="One message to answer; several words are joined by spaces, and - is standard input.",
            show_default="a conversation, or standard input if that is no terminal",
        ),
    ] = None,
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
    stop: options.Stop = None,
    image: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="FILE", help="An image to ask about: not available yet."),
    ] = None,
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
    continues: Annotated[
        bool, typer.Option("--continue", "-c", help="Continue the conversation that was held last.")
    ] = False,
    conversation: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--id",
            metavar="ID",
            help="Continue the stored conversation of this number or title.",
            autocompletion=suggestions.conversations,
        ),
    ] = None,
    keeps: Annotated[
        bool,
        typer.Option("--history/--no-history", help="Store the conversation; zig-ai history shows it."),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end instead of the answer's text.")
    ] = False,
) -> None:
    """Chat with a model, or ask it once.

    With a prompt, or if standard input is no terminal, one message is answered on standard output, without
    reasoning. Standard input comes before the prompt, with an empty line between them:
    cat file | zig-ai chat "Summarise this."

    Otherwise it is a conversation: Ctrl-C stops a reply, Ctrl-D leaves, and /help lists the commands.

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
        ctx=ctx,
    )
    speculate, draft = options.drafting(ctx, speculate, draft)
    if image:
        raise typer.BadParameter("--image: zig-ai cannot read images yet; models answer text only")
    if stop:
        sampling["stop"] = tuple(input_text.encodable("--stop", text) for text in stop)
    if system is not None:
        system = input_text.encodable("--system", system)
    if continues and words and len(words) == 1 and words[0].isdecimal():
        raise typer.BadParameter(
            f"--continue takes no value: --id {words[0]} continues that conversation; a number as a message "
            "goes through a pipe"
        )
    interactive = not words and sys.stdin.isatty()
    if interactive and as_json:
        raise typer.BadParameter("--json needs a prompt: give one as an argument or through standard input")
    text = "" if interactive else input_text.read(words or (), empty=_NO_PROMPT)
    from zigai_cli.history import opening  # sqlite3 takes a tenth of the time of --help

    continued = conversation or ("last" if continues else None)
    kept, opened = opening.begin(continued, keeps=keeps)
    try:
        if opened is not None and not options.is_given(ctx, "model"):
            name = opened.model
        else:
            name = model or loader.default_name()
        if opened is not None and system is None:
            system = opened.system
        on_screen = interactive and sys.stdout.isatty()
        usual = Settings(
            reasoning=options.Reasoning.DIM if on_screen else options.Reasoning.HIDE,
            overflow=options.Overflow.SHIFT if interactive else options.Overflow.STOP,
        )
        settings = Settings(
            sampling,
            max_tokens,
            reasoning or usual.reasoning,
            overflow or usual.overflow,
            stats=show_stats is not False,
            markdown=not plain,
        )
        opener = ChatOpener(
            load,
            settings.overflow,
            system,
            [] if opened is None else opened.messages,
            template_name,
            options.template_keywords(keywords),
            speculate,
            draft,
        )
        if interactive:
            # Models that have to be downloaded are downloaded before the prompt, with a progress bar.
            located = None if name is None else _located(opener, name, opened)
            if draft is not None:
                loader.locate(draft)
            Conversation(
                Loading(opener, located),
                opener,
                settings,
                defaults=usual,
                kept=kept,
                typed=places.data_folder() / TYPED if keeps else None,
                remark="" if opened is None else _remark(opened),
                draft="" if opened is None else opened.unanswered,
                model_names=suggestions.named_models,
            ).run()
            return
        located = _located(opener, name, opened)
        if located.remark and not show_stats:
            note(located.remark, sys.stderr)
        ready = opener.open(located)
        if opened is not None and (show_stats or sys.stderr.isatty()):
            left_out = (
                f"; it is left out: {shortened(clean(opened.unanswered), 60)}" if opened.unanswered else ""
            )
            note(_remark(opened) + left_out, sys.stderr)
        if show_stats:
            note("\n".join([*ready.remarks, ready.heading]), sys.stderr)
        if kept is not None:
            kept.describe(ready.name, ready.about["model"], settings.record())
        code = ask(ready, text, settings, show_stats=bool(show_stats), as_json=as_json, kept=kept)
    finally:
        if kept is not None:
            kept.close()
    if code:
        raise typer.Exit(code)


def _located(opener: ChatOpener, name: str | None, opened: Opened | None) -> Located:
    """Where the model is. An error says if it is that of a continued conversation."""
    try:
        return opener.choose(name)
    except ZigAIError as error:
        if opened is None or name != opened.model:
            raise
        raise InputError(
            f"{error}; conversation {opened.id} was held with it: --model NAME goes on with another"
        ) from error


def _remark(opened: Opened) -> str:
    """Which conversation is continued, as a line."""
    lost = "; its last message got no reply" if opened.unanswered else ""
    return f"continuing conversation {opened.id}: {clean(opened.title)}{lost}"
