"""`zig-ai generate`: continues a text."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Optional

import typer

from zigai_cli import input_text, loader, options, stats
from zigai_cli.conversation.ask import exit_code
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.running import Running
from zigai_cli.terminal.output import ReplyWriter, note
from zigai_core.contracts.load_options import LoadOptions


@with_load_options()
def generate(
    ctx: typer.Context,
    model: options.Model = None,
    words: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="PROMPT",
            help="The text to continue, as one argument; - is standard input.",
            show_default="standard input",
        ),
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
    stop: options.Stop = None,
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
    """Continue a text: no chat template applies. To ask a model that was trained for chat: zig-ai chat.

    The text is printed as it is generated, without the prompt. If standard input is no terminal, it comes
    before the prompt, with an empty line between them; one newline at its end is removed.
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
    stop = [input_text.encodable("--stop", text) for text in stop or ()]
    given = _prompt(words or [], prompt)
    loaded = loader.load(model, load)
    speculation = loader.speculation(speculate, draft, load)
    writer = ReplyWriter(sys.stdout, spinner=sys.stdout.isatty() and not as_json)
    reply = Running(
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
    code = exit_code(generation, interrupted=reply.interrupted)
    if code:
        raise typer.Exit(code)


def _prompt(words: list[str], prompt: str | None) -> str:
    input_text.refuse_model_file(words)
    if words and prompt is not None:
        raise typer.BadParameter("the prompt is given twice: as an argument and as --prompt")
    if len(words) > 1:
        raise typer.BadParameter("the prompt has several arguments: put it in quotation marks")
    return input_text.read(
        words if prompt is None else [prompt],
        empty="no prompt: give one as an argument or through standard input",
    )
