"""`zig-ai bench`: measures a model's speed on this machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeVar

import typer

from zigai_cli import failure, loader, options
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.measure.drawing import Plot, PlotFile, check_plot_file, draw
from zigai_cli.running import Running
from zigai_cli.terminal.output import figure, note, table
from zigai_cli.terminal.status import StatusLine
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from pathlib import Path

    from zigai_cli.measure.sweep import Sweep
    from zigai_cli.measure.timing import Timing, Work
    from zigai_core.contracts.descriptor import ModelDescriptor

GENERATED = 64
"""Tokens that are decoded if no number is given."""

W = TypeVar("W", "Timing", "Sweep")


@with_load_options("context")
def bench(
    path: options.ModelArgument = None,
    model: options.ModelAgain = None,
    synthetic: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="SHAPE:TYPE",
            help="Instead of a file, a model with random weights in memory, such as llama2-7b:Q4_K_M.",
        ),
    ] = None,
    prompt: Annotated[
        int, typer.Option(metavar="N", min=0, help="Tokens of the prompt; 0 skips prefill.")
    ] = 512,
    generate: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            metavar="N",
            min=0,
            help="Tokens to decode per sequence; 0 skips decode.",
            show_default=str(GENERATED),
        ),
    ] = None,
    depth: Annotated[
        int, typer.Option(metavar="N", min=0, help="Tokens in each sequence before decode begins.")
    ] = 0,
    sequences: Annotated[
        int, typer.Option(metavar="N", min=1, help="Sequences that decode together, one token each per step.")
    ] = 1,
    repeat: Annotated[
        int, typer.Option(metavar="N", min=1, help="Measured rounds, after a warm-up round; shows medians.")
    ] = 3,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also show the time that each operation takes.")
    ] = False,
    plot: Plot = False,
    plot_file: PlotFile = None,
    load: LoadOptions = DEFAULTS,
    as_json: options.Json = False,
) -> None:
    """Measure a model's speed on this machine.

    Prefill and decode are timed separately, on random tokens: speed does not depend on which tokens. Of an
    encoder, whole texts of --prompt tokens are timed, and no decode. --plot
    and --plot-file time both at several lengths too: prompts up to --prompt, depths up to --depth (or else
    --prompt).
    """
    check_plot_file(plot_file)
    if plot and as_json:
        raise typer.BadParameter("--plot draws between the figures: use --plot-file together with --json")
    if sum(named is not None for named in (path, model, synthetic)) > 1:
        raise typer.BadParameter("more than one model: give a PATH, --model or --synthetic")
    decoded = GENERATED if generate is None else generate
    if not prompt and not decoded:
        raise typer.BadParameter("nothing to measure: --prompt and --generate are both 0")
    from zigai_cli.measure.sweep import Sweep
    from zigai_cli.measure.timing import Timing, Work, peak_resident

    work = Work(prompt, decoded, depth, sequences, repeat, profile)
    curves = plot or plot_file is not None
    swept = replace(work, depth=depth or prompt) if curves else work
    if synthetic is None:
        file = loader.choose(model if path is None else path)
        name = file.name
        work, swept = _of_model(file, work, swept, generates=bool(generate))
        opened = partial(loader.load_file, file)
    else:
        name = synthetic
        opened = partial(loader.assemble, _synthetic(name))
    load = replace(load, context=max(work.context, swept.context))
    began = time.perf_counter()
    loaded = opened(load)
    seconds = time.perf_counter() - began
    timing = _run(lambda: Timing(loaded, work))
    sweep = _run(lambda: Sweep(loaded, swept)) if curves else None
    report = loaded.program.report()
    figures: dict[str, Any] = {
        "engine": "zigai",
        "model": name,
        "architecture": loaded.descriptor.architecture,
        "parameters": loaded.descriptor.parameters,
        "bytes": loaded.descriptor.nbytes,
        "backend": loaded.backend,
        "summary": report.summary,
        "threads": load.threads,
        "load_s": round(seconds, 4),
        "prompt": prompt,
        "generate": work.generate,
        "depth": depth,
        "sequences": sequences,
        "repeat": repeat,
        **timing.figures(),
        "peak_resident_bytes": peak_resident(),
    }
    profiles = timing.profiles
    if as_json:
        further = ({"profile": profiles} if profile else {}) | ({"curves": sweep.figures()} if sweep else {})
        sys.stdout.write(json.dumps(figures | further) + "\n")
        draw(sweep.charts(name) if sweep else [], plot=False, file=plot_file)
        return
    note(f"{loaded.descriptor.name} on {report.summary}; medians of {repeat}", sys.stderr)
    table(_rows(figures), ["", "tokens/s"], numbers=[1])
    note(_other_figures(figures), sys.stderr)
    for phase, rows in profiles.items():
        total = sum(row["seconds"] for row in rows)
        sys.stdout.write(f"\n{phase}\n")
        table(
            [
                [
                    row["operation"],
                    row["output"],
                    row["type"],
                    f"{1e3 * row['seconds']:,.3f}",
                    _share(row, total),
                ]
                for row in rows
            ],
            ["operation", "output", "type", "ms", "share"],
            numbers=[3, 4],
        )
    if sweep is not None:
        draw(sweep.charts(name), plot=plot, file=plot_file)


def _of_model(file: Path, work: Work, swept: Work, *, generates: bool) -> tuple[Work, Work]:
    """What is to be timed, and its sweep, without decode if the model is an encoder, which generates nothing.

    Raises `BadParameter` for an encoder of which nothing is left, that knows fewer positions, or that
    `generates`: decode is asked for.
    """
    from zigai_core.api import loading
    from zigai_core.contracts.errors import ZigAIError

    try:
        graph = loading.build(loading.read(file), context=1)
    except ZigAIError:
        return work, swept  # loading reports it, with all options
    if not graph.whole_sequences:
        return work, swept
    what = "the model is an encoder, which generates nothing"
    if generates or work.depth or work.sequences > 1:
        raise typer.BadParameter(f"{what}: leave out --generate, --depth and --sequences")
    if not work.prompt:
        raise typer.BadParameter(f"{what}: give --prompt N, the tokens of a text")
    most = graph.position_limit
    if most is not None and work.prompt > most:
        raise typer.BadParameter(
            f"--prompt is {work.prompt}, but the model knows {most} positions: give --prompt {most} or less"
        )
    return replace(work, generate=0), replace(swept, generate=0, depth=0)


def _run(start: Callable[[], W]) -> W:
    """Run a measurement with a line of progress on a terminal. Raises `typer.Exit` after Ctrl-C."""
    with StatusLine(sys.stderr) as status, Running(start, iter) as running:
        for line in running:
            if line is not None:
                status.show(line)
    if running.interrupted:
        raise typer.Exit(failure.INTERRUPTED)
    return running.generation


def _share(row: dict[str, Any], total: float) -> str:
    return f"{row['seconds'] / total:.1%}" if total else ""


def _synthetic(name: str) -> ModelDescriptor:
    from zigai_cli.measure.shapes import random_model

    shape, _, mix = name.partition(":")
    return random_model(shape, mix)


def _rows(figures: dict[str, Any]) -> list[list[str]]:
    rows = []
    if "prompt_tps" in figures:
        rows.append([f"prompt of {figures['prompt']}", f"{figures['prompt_tps']:,.1f}"])
    if "generate_tps" in figures:
        what = f"generate {figures['generate']}"
        if figures["sequences"] > 1:
            what += f" × {figures['sequences']}"
        if figures["depth"]:
            what += f" at a depth of {figures['depth']}"
        rows.append([what, f"{figures['generate_tps']:,.1f}"])
    return rows


def _other_figures(figures: dict[str, Any]) -> str:
    parts = [f"loaded in {figures['load_s']:.2f} s"]
    if "first_token_s" in figures:
        parts.append(f"first token after {figures['first_token_s']:.2f} s")
    if "start_to_token_s" in figures:
        parts.append(f"{figures['start_to_token_s']:.2f} s after the process began")
    if figures["sequences"] == 1 and not figures["depth"] and "generate_tps" in figures:
        # Each token of a dense model reads every weight once; a model with experts reads fewer.
        parts.append(f"weights read at {figures['bytes'] * figures['generate_tps'] / 1e9:.1f} GB/s at most")
    if figures["peak_resident_bytes"] is not None:
        parts.append(f"peak memory {figure(figures['peak_resident_bytes'])}B")
    return " · ".join(parts)
