"""`zig-ai generate`: continues a text."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Optional

import typer

from zigai_cli import failure, loader, options
from zigai_cli.conversation import stats
from zigai_cli.conversation.reply import Reply
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.terminal.output import ReplyWriter, note
from zigai_core.contracts.load_options import LoadOptions


@with_load_options()
def generate(
    model: options.Model = None,
    text: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="PROMPT", help="The text to continue.", show_default="standard input"),
    ] = None,
    prompt: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="TEXT", help="The same as the argument PROMPT."),
    ] = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repeat_penalty: options.RepeatPenalty = None,
    seed: options.Seed = None,
    further_sampling: options.SamplingOption = None,
    max_tokens: options.MaxTokens = None,
    stop: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="TEXT", help="End the reply before this text if it occurs; may be given several times."
        ),
    ] = None,
    overflow: options.OverflowChoice = options.Overflow.STOP,
    speculate: options.SpeculateChoice = options.Speculate.OFF,
    draft: options.Draft = None,
    load: LoadOptions = DEFAULTS,
    show_stats: Annotated[
        bool, typer.Option("--stats", help="Print speed and context use to standard error.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end instead of the text.")
    ] = False,
) -> None:
    """Continue a text.

    The text is printed as it is generated, without the prompt. One newline at the end of standard input is
    removed.
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
    given = _prompt(text, prompt)
    loaded = loader.load(model, load)
    speculation = loader.speculation(speculate, draft, load)
    writer = ReplyWriter(sys.stdout, spinner=sys.stdout.isatty() and not as_json)
    reply = Reply(
        lambda: loaded.generate(
            given,
            **sampling,
            max_tokens=max_tokens,
            stop=stop or (),
            overflow=overflow.value,
            **speculation,
        ),
        iter,
    )
    with reply:
        for piece in reply:
            if piece is None:
                writer.wait()
            elif not as_json:
                writer.write(piece)
    writer.end(interrupted=reply.interrupted)
    generation = reply.generation
    if as_json:
        answer = {
            "model": loaded.descriptor.name,
            "backend": loaded.backend,
            "text": generation.text,
            "tokens": generation.tokens,
            "finish_reason": generation.finish_reason,
            "stats": stats.record(generation),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
    if show_stats:
        note(stats.line(generation), sys.stderr)
    if generation.finish_reason == "context" or generation.usage.dropped_tokens:
        note(f"zig-ai: {stats.ending(generation)}", sys.stderr)
    if reply.interrupted:
        raise typer.Exit(failure.INTERRUPTED)


def _prompt(text: str | None, prompt: str | None) -> str:
    if text is not None and prompt is not None:
        raise typer.BadParameter("the prompt is given twice: as an argument and as --prompt")
    given = prompt if text is None else text
    if given is None:
        if sys.stdin.isatty():
            raise typer.BadParameter("no prompt: give one as an argument or through standard input")
        given = sys.stdin.read()
        given = given[:-1] if given.endswith("\n") else given
    return given
