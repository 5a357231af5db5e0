"""Compares ZigAI with llama.cpp on the same files, work and threads, and both with the machine's limits.

Every job runs in a process of its own, and the systems alternate. llama.cpp runs with its weights repacked
and as stored, and the better result counts. The machine's limits are measured in every round (limits.py).

A model is a file's path, or SHAPE:TYPE (llama2-7b:Q4_K_M): a file of that shape with random weights, which is
written into --models. `--from` shows earlier measurements instead of measuring.

usage: python benchmarks/compare.py --peer PYTHON MODEL... [--models DIR] [--threads 1,2] [--rounds N]
       [--prompts 512] [--depths 0,1024,4096] [--sequences 4,8,16] [--generate N] [--repeat N] [--no-start]
       [--patience SECONDS] [--json FILE] [--markdown FILE] [--plot FILE] [--document PAGE] [--from FILE...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from comparison import machine
from comparison.bounds import Demand
from comparison.document import replace_part
from comparison.others import QUIET, Others, wait_until_quiet
from comparison.plot import draw
from comparison.random_file import find
from comparison.report import markdown
from comparison.result import pool, row
from comparison.systems import System, ours, peers
from comparison.work import Job, jobs
from limits import Limits, counts, measure
from zigai_core.api.loading import read
from zigai_core.contracts.errors import ZigAIError


def compare(
    path: Path, systems: Sequence[System], work: Sequence[Job], threads: int, rounds: int, patience: float = 0
) -> dict[str, Any]:
    """Measure all rounds of one model with `threads` threads.

    Before each run, wait up to `patience` seconds for other processes to become idle.
    """
    model = read(path)
    demand = Demand.of(model)
    context = model.hyperparameters.integer("context_length", minimum=1)
    fitting = [job for job in work if job.context <= context]
    notes = [
        f"{job.figures[0].name} is skipped: it needs a context of {job.context:,} tokens, the model has "
        f"{context:,}"
        for job in work
        if job.context > context
    ]
    seen: dict[tuple[Job, str], dict[str, list[float]]] = {
        (job, figure.key): {system.name: [] for system in systems}
        for job in fitting
        for figure in job.figures
    }
    measured: list[Limits] = []
    disturbed: list[float] = []
    for turn in range(rounds):
        log(f"{path.name}, threads {threads}, round {turn + 1} of {rounds}: limits")
        wait_until_quiet(patience)
        measured.append(measure(threads, passes=9))
        first = turn % len(systems)
        for job in fitting:
            for system in [*systems[first:], *systems[:first]]:
                log(f"{path.name}, threads {threads}, round {turn + 1}: {job.figures[0].name}, {system.name}")
                wait_until_quiet(patience)
                others = Others()
                try:
                    figures = system.run(path, job, threads)
                except RuntimeError as error:
                    notes.append(f"{job.figures[0].name}: {error}")
                    continue
                share = others.share()
                disturbed += [] if share is None else [share]
                for figure in job.figures:
                    if figures.get(figure.key) is not None:
                        seen[job, figure.key][system.name].append(figures[figure.key])
    limits = pool(measured)
    return {
        "model": model.name,
        "bytes": model.nbytes,
        "threads": threads,
        "limits": asdict(limits),
        "demand": asdict(demand),
        "rows": [
            row(job, figure, seen[job, figure.key], systems[0].name, demand, limits)
            for job in fitting
            for figure in job.figures
        ],
        "others": disturbed,
        "notes": list(dict.fromkeys(notes)),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all models; the results so far are written after each."""
    systems = [ours(), *peers(options.peer)]
    paths = [find(named, options.models) for named in options.model]
    work = list(
        jobs(
            prompts=options.prompts,
            depths=options.depths,
            sequences=options.sequences,
            generate=options.generate,
            repeat=options.repeat,
            start=options.start,
        )
    )
    about = machine.describe()
    others = Others()
    time.sleep(1)
    if (others.share() or 0.0) > QUIET:
        log(f"other processes use {others.share():.0%} of the CPUs, which will affect the figures")
    names = ("rounds", "repeat", "generate", "prompts", "depths", "sequences")
    measured: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": about,
        "peer_version": peer_version(options.peer),
        "options": {name: getattr(options, name) for name in names},
        "results": [],
    }
    for path in paths:
        for threads in options.threads:
            result = compare(path, systems, work, threads, options.rounds, options.patience)
            measured["results"].append(result)
            if options.json:
                options.json.write_text(json.dumps(measured, indent=1) + "\n")
    return measured


def peer_version(python: str) -> str:
    program = "import llama_cpp; print(llama_cpp.__version__)"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", nargs="*", help="a GGUF file, or SHAPE:TYPE")
    parser.add_argument("--peer", metavar="PYTHON", help="the python of an environment with llama-cpp-python")
    parser.add_argument("--models", metavar="DIR", type=Path, help="folder for files of SHAPE:TYPE")
    parser.add_argument("--threads", type=counts, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--prompts", type=counts, default=[512], help="prompt lengths in tokens, such as 128,512"
    )
    parser.add_argument("--depths", type=counts, default=[0, 1024, 4096])
    parser.add_argument("--sequences", type=counts, default=[4, 8, 16])
    parser.add_argument("--generate", type=int, default=32, help="tokens decoded per sequence")
    parser.add_argument("--repeat", type=int, default=2, help="runs in each process")
    parser.add_argument("--no-start", dest="start", action="store_false", help="do not measure process start")
    parser.add_argument(
        "--patience",
        type=float,
        default=0,
        help="seconds to wait before each run for other processes to become idle",
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--plot", type=Path, help="draw the results to this .svg or .png file")
    parser.add_argument("--document", type=Path, metavar="PAGE", help="replace the tables in this page")
    parser.add_argument("--from", dest="measured", nargs="+", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.measured:
        results = [json.loads(path.read_text()) for path in options.measured]
    else:
        if not options.model or not options.peer:
            parser.error("give a model, and with --peer the python of llama.cpp's environment")
        if min(options.rounds, options.repeat, options.generate, *options.threads) < 1:
            parser.error("--rounds, --repeat, --generate and --threads must be at least 1")
        try:
            results = [run(options)]
        except ZigAIError as error:
            raise SystemExit(str(error)) from None
    text = markdown(results)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.document:
        replace_part(options.document, "compare", text)
    if options.plot:
        draw(results, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
