"""`zig-ai chat`: a conversation at a terminal, or one message and its answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import loader, options
from zigai_cli.conversation import input_text, template
from zigai_cli.conversation.answer import Settings
from zigai_cli.conversation.ask import ask
from zigai_cli.conversation.interactive import Conversation
from zigai_cli.conversation.loading import Loading, Opener, Ready
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.loader import LoadProgress
from zigai_cli.terminal.output import figure, note
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from zigai_core.api.chat import Chat
    from zigai_core.api.model import Model
    from zigai_core.contracts.plugins import Progress

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
        typer.Option("--id", metavar="ID", help="Continue the stored conversation of this number or title."),
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
    )
    if image:
        raise typer.BadParameter("--image: zig-ai cannot read images yet; models answer text only")
    if stop:
        sampling["stop"] = tuple(input_text.encodable("--stop", text) for text in stop)
    if system is not None:
        input_text.encodable("--system", system)
    variables = options.template_keywords(keywords)
    if continues and words and len(words) == 1 and words[0].isdecimal():
        raise typer.BadParameter(
            f"--continue takes no value: --id {words[0]} continues that conversation; a number as a message "
            "goes through a pipe"
        )
    interactive = not words and sys.stdin.isatty()
    if interactive and as_json:
        raise typer.BadParameter("--json needs a prompt: give one as an argument or through standard input")
    text = "" if interactive else input_text.read(words or (), empty=_NO_PROMPT)
    from zigai_cli.history import opening, stored  # sqlite3 takes a tenth of the time of --help

    continued = conversation or ("last" if continues else None)
    begun = opening.begin(continued, keeps=keeps)
    source = ctx.get_parameter_source("model")
    if continued is not None and (source is None or source.name != "COMMANDLINE"):
        model = begun.about.model
    if overflow is None:
        overflow = options.Overflow.SHIFT if interactive else options.Overflow.STOP
    if reasoning is None:
        shown = interactive and sys.stdout.isatty()
        reasoning = options.Reasoning.DIM if shown else options.Reasoning.HIDE
    settings = Settings(
        sampling, max_tokens, reasoning, overflow, stats=show_stats is not False, markdown=not plain
    )
    names: dict[Path, str | None] = {}
    remarks: list[str] = []

    def choose(name: str | None) -> Path:
        path = loader.choose(name, remarks.append if interactive else None)
        names[path] = name or loader.default_name()
        return path

    def open_chat(path: Path, progress: Progress | None) -> Ready:
        chosen = template.choose(template_name)
        with LoadProgress(path.name, progress) as bar:
            loaded = loader.load_file(path, load, bar)
        talk = loaded.chat(
            system=begun.about.system if system is None else system,
            template=chosen,
            overflow=overflow.value,
            **loader.speculation(speculate, draft, load, progress),
            **variables,
        )
        talk.messages = begun.messages
        if begun.kept is not None:
            begun.kept.about = stored.About(
                opening.model_to_store(names.get(path, str(path))),
                loaded.descriptor.name,
                settings={**sampling, **({} if max_tokens is None else {"max_tokens": max_tokens})},
            )
        about = [
            *remarks,
            heading(loaded, talk),
            loader.packing_remark(loaded, bar.seconds, load),
            begun.remark,
        ]
        remarks.clear()
        return Ready(
            talk,
            loaded.tokenizer,
            loaded.sampling,
            "\n".join(filter(None, about)),
            {"model": loaded.descriptor.name, "backend": loaded.backend},
        )

    if interactive:
        opener = Opener(choose, open_chat)
        path = (lambda: choose(None)) if model is None else choose(model)
        Conversation(Loading(path, opener), opener, settings, kept=begun.kept).run()
        return
    ready = open_chat(choose(model), None)
    if show_stats:
        note(ready.heading, sys.stderr)
    elif begun.remark is not None and sys.stderr.isatty():
        note(begun.remark, sys.stderr)
    about = ready.about if as_json else None
    code = ask(ready.talk, text, settings, show_stats=bool(show_stats), as_json=about, kept=begun.kept)
    if code:
        raise typer.Exit(code)


def heading(model: Model, talk: Chat) -> str:
    """Two lines that name model, backend and chat template."""
    about = model.descriptor
    return (
        f"{about.name} ({about.architecture}, {figure(about.parameters)} parameters) on {model.choice}\n"
        f"template: {talk.template.origin}"
    )
