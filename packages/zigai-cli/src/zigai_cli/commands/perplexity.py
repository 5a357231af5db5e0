"""`zig-ai perplexity`: how well a model predicts a text."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from typing import Annotated, Optional

import typer

from zigai_cli import input_text, loader, options
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.terminal.output import note
from zigai_cli.terminal.status import StatusLine
from zigai_core.contracts.load_options import LoadOptions

WINDOW = 512
"""Default tokens of a window, as in llama.cpp; less if the model's context is shorter."""


@with_load_options("context", "budget")
def perplexity(
    text: Annotated[
        str, typer.Argument(metavar="FILE", help="The text, in UTF-8; - is standard input.")
    ] = "-",
    model: options.Model = None,
    window: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", min=4, help="Tokens of a window.", show_default="512"),
    ] = None,
    stride: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            metavar="N",
            min=1,
            help="Begin a window every N tokens and score its last N: slower, with more context.",
            show_default="windows side by side, of which the second half is scored",
        ),
    ] = None,
    chunks: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", min=1, help="Most windows to compute.", show_default="all"),
    ] = None,
    load: LoadOptions = DEFAULTS,
    as_json: options.Json = False,
) -> None:
    """Measure a text's perplexity: how well a model predicts it.

    The standard error is shown with it. Defined as by llama.cpp: the text is cut into windows of N tokens,
    each read from an empty context, and the tokens of each window's second half are scored. If the model's
    texts begin with a BOS token, it replaces the first token of each window. Figures are comparable only for
    the same text, vocabulary and options.
    """
    from zigai_cli.measure.perplexity import Perplexity, windows
    from zigai_core.api import loading

    given = input_text.read_file(text)
    file = loader.choose(model)
    descriptor = loading.read(file)
    trained = descriptor.hyperparameters.integer("context_length", WINDOW, minimum=1)
    size = min(WINDOW, trained) if window is None else window
    loaded = loader.load_file(file, replace(load, context=size))
    tokens = loaded.tokenizer.encode(given)
    spec = descriptor.tokenizer
    bos = loaded.tokenizer.special_ids.get("bos") if spec is not None and spec.add_bos else None
    measured = Perplexity(loaded, tokens, windows(len(tokens), size, stride, chunks), bos)
    began = time.perf_counter()
    total = len(measured.windows)
    with StatusLine(sys.stderr) as status:
        for done, mean in enumerate(measured, start=1):
            left = (time.perf_counter() - began) / done * (total - done)
            status.show(f"window {done} of {total}: {mean.value:.4f} ± {mean.error:.4f}, {left:.0f} s left")
    seconds = time.perf_counter() - began
    mean = measured.result()
    scored = len(measured.nats)
    if as_json:
        finite = math.isfinite(mean.value)
        figures = {
            "model": loaded.descriptor.name,
            "backend": loaded.backend,
            "perplexity": mean.value if finite else None,
            "error": mean.error if math.isfinite(mean.error) else None,
            "nats_per_token": float(measured.nats.mean()) if finite else None,
            "tokens": len(tokens),
            "scored": scored,
            "windows": total,
            "window": size,
            "stride": stride,
            "bos": bos is not None,
            "seconds": round(seconds, 3),
        }
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    sys.stdout.write(f"{mean.value:.4f} ± {mean.error:.4f}\n")
    how = "the second half of each scored" if stride is None else f"one every {stride} tokens"
    note(
        f"{loaded.descriptor.name} on {loaded.program.report().summary}; {scored:,} of {len(tokens):,} "
        f"tokens scored, {total} window{'s' if total > 1 else ''} of {size}, {how}; "
        f"{total * size / max(seconds, 1e-9):,.0f} tokens/s",
        sys.stderr,
    )
