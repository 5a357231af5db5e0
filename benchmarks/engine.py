"""What the engine adds to the backend's own speed: several requests, prefixes, and a prompt beside replies.

A model with random weights in a published shape; times are medians over interleaved rounds. `--check` fails
if a ratio is beyond its limit. The parts, of which `--only` takes some:

threads   four threads that each read a reply, against the same replies one after another
batch     tokens per second of 16 requests, against the backend's own rate for 16 rows
prefix    tokens computed for eight requests with a common beginning, against the least possible
turn      time to the first token of a second turn, against a prompt of the same length that is new
beside    time between tokens of four replies while a long prompt is computed, and that prompt's first token
sampling  time in drawing with the default chain, of a decode step, alone and with 16 sequences
python    time of a step of 64 sequences outside the executor, without drawing

    python benchmarks/engine.py [--shape NAME:TYPE] [--rounds N] [--only PART...] [--check] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zigai_cli.measure.shapes import random_model
from zigai_core.api.loading import assemble
from zigai_core.api.model import Model
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.plugins import Outputs
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.engine.drawing import Drawn
from zigai_core.engine.engine import Engine
from zigai_core.engine.memory import StepPart
from zigai_core.engine.request import Request
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream

CONTEXT = 5000
LIMITS = {
    "threads": (">=", 1.9),
    "batch": (">=", 0.95),
    "prefix": ("<=", 1.1),
    "turn": ("<=", 0.05),
    "beside, between tokens": ("<=", 3.0),
    "beside, first token": ("<=", 2.5),
    "sampling, one": ("<=", 0.03),
    "sampling, 16": ("<=", 0.03),
    "python": ("<=", 0.03),
}
"""By figure, the relation and the limit."""


class Greedy(Sampler):
    """Draws the same token always, at no cost."""

    def __init__(self) -> None:
        super().__init__(SamplingOptions.greedy())

    def sample(self, logits: Array, *_: object, **__: object) -> int:
        return 7


@dataclass
class Bench:
    model: Model
    rounds: int
    figures: dict[str, list[float]] = field(default_factory=dict)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def prompt(self, count: int) -> list[int]:
        """New random tokens."""
        return [int(token) for token in self.random.integers(0, self.model.graph.token_limit, count)]

    def request(self, prompt: list[int], tokens: int, sampler: Sampler | None = None) -> Request:
        return Request(prompt, max_tokens=tokens, sampler=sampler or Sampler(SamplingOptions(seed=1)))

    def note(self, name: str, value: float) -> None:
        self.figures.setdefault(name, []).append(value)

    def threads(self, engine: Engine) -> None:
        prompts = [self.prompt(16) for _ in range(8)]
        began = time.perf_counter()
        for prompt in prompts[:4]:
            engine.submit(self.request(prompt, 128)).result()
        apart = time.perf_counter() - began

        def read(prompt: list[int]) -> None:
            engine.submit(self.request(prompt, 128)).result()

        readers = [threading.Thread(target=read, args=(prompt,)) for prompt in prompts[4:]]
        began = time.perf_counter()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        self.note("threads", apart / (time.perf_counter() - began))

    def batch(self, engine: Engine) -> None:
        count, tokens = 16, 64
        runner = DirectRunner(self.model.program, count)
        sequences = [runner.new_sequence() for _ in range(count)]
        for sequence in sequences:
            runner.run([Part(sequence, self.prompt(16))])
        began = time.perf_counter()
        for _ in range(tokens):
            runner.run([Part(sequence, [7]) for sequence in sequences])
        own = time.perf_counter() - began
        streams = [engine.submit(self.request(self.prompt(16), tokens)) for _ in range(count)]
        while not all(stream.channel.prompt_done for stream in streams):
            engine.step()
        before = sum(stream.usage.generated_tokens for stream in streams)
        began = time.perf_counter()
        drain(streams)
        took = time.perf_counter() - began
        done = sum(stream.usage.generated_tokens for stream in streams) - before
        self.note("batch", done / took / (count * tokens / own))

    def prefix(self, engine: Engine) -> None:
        common = self.prompt(200)
        engine.submit(self.request(common, 1)).result()
        streams = [engine.submit(self.request(common + self.prompt(20), 1)) for _ in range(8)]
        drain(streams)
        self.note("prefix", sum(stream.usage.computed_tokens for stream in streams) / (8 * 20))

    def turn(self, engine: Engine) -> None:
        first = self.prompt(4000)
        cold = first_token(engine.submit(self.request(first, 8)))
        self.note("turn", first_token(engine.submit(self.request(first + self.prompt(20), 8))) / cold)

    def beside(self, engine: Engine) -> None:
        alone = first_token(engine.submit(self.request(self.prompt(4000), 1)))
        quiet = self._gaps(engine, 60, None)
        long = self.request(self.prompt(4000), 1)
        began = time.perf_counter()
        busy, arrived = self._gaps(engine, 2000, long), self._arrived
        self.note("beside, between tokens", percentile(busy) / percentile(quiet))
        self.note("beside, first token", (arrived - began) / alone)

    def _gaps(self, engine: Engine, tokens: int, beside: Request | None) -> list[float]:
        """Seconds between tokens of four replies: of so many tokens, or until a request has its first."""
        streams = [engine.submit(self.request(self.prompt(16), 900)) for _ in range(4)]
        while not all(stream.usage.generated_tokens for stream in streams):
            engine.step()
        other = None if beside is None else engine.submit(beside)
        seen = [stream.usage.generated_tokens for stream in streams]
        last = [time.perf_counter()] * 4
        gaps: list[float] = []
        while len(gaps) < 4 * tokens:
            engine.step()
            now = time.perf_counter()
            for number, stream in enumerate(streams):
                while stream.poll() is not None:
                    pass
                if stream.usage.generated_tokens > seen[number]:
                    gaps.append(now - last[number])
                    seen[number], last[number] = stream.usage.generated_tokens, now
            if other is not None and other.usage.generated_tokens:
                self._arrived = now
                break
        for stream in [*streams, *([] if other is None else [other])]:
            stream.close()
        engine.step()
        return gaps

    def sampling(self, engine: Engine) -> None:
        drawer = engine._stepper._drawer
        draw, spent = drawer.draw, 0.0

        def timed(part: StepPart, outputs: Outputs, rows: int) -> Drawn:
            nonlocal spent
            began = time.perf_counter()
            drawn = draw(part, outputs, rows)
            spent += time.perf_counter() - began
            return drawn

        drawer.draw = timed  # type: ignore[method-assign]
        for name, count in (("one", 1), ("16", 16)):
            streams = [engine.submit(self.request(self.prompt(16), 200)) for _ in range(count)]
            while not all(stream.usage.generated_tokens for stream in streams):
                engine.step()
            shares = []
            for _ in range(60):
                spent, began = 0.0, time.perf_counter()
                engine.step()
                shares.append(spent / (time.perf_counter() - began))
                for stream in streams:
                    while stream.poll() is not None:
                        pass
            for stream in streams:
                stream.close()
            engine.step()
            self.note(f"sampling, {name}", statistics.median(shares))

    def python(self, engine: Engine) -> None:
        streams = [engine.submit(self.request(self.prompt(16), 60, Greedy())) for _ in range(64)]
        while not all(stream.usage.generated_tokens for stream in streams):
            engine.step()
        shares = []
        for _ in range(40):
            before = engine.stats()
            engine.step()
            for stream in streams:
                stream.poll()
            after = engine.stats()
            whole = after.step_seconds - before.step_seconds
            shares.append((whole - (after.run_seconds - before.run_seconds)) / whole)
        for stream in streams:
            stream.close()
        engine.step()
        self.note("python", statistics.median(shares))


def drain(streams: list[Stream]) -> None:
    """Reads streams to their ends, in turns, so that none waits for its reader."""
    open_ones = list(streams)
    while open_ones:
        open_ones = [stream for stream in open_ones if next(stream, None) is not None]


def first_token(stream: Stream) -> float:
    """Seconds from the submission of a request to its first token."""
    stream.result()
    return stream.usage.time_to_first_token


def percentile(values: list[float]) -> float:
    return float(np.percentile(values, 99))


def rows(figures: dict[str, list[float]]) -> Iterator[tuple[str, float, str, float, bool]]:
    for name, values in figures.items():
        relation, limit = LIMITS[name]
        median = statistics.median(values)
        yield name, median, relation, limit, median >= limit if relation == ">=" else median <= limit


def main() -> int:
    parts = list(dict.fromkeys(name.split(",")[0] for name in LIMITS))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", default="qwen3-0.6b:Q4_0", help="shape and type of the model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--check", action="store_true", help="fail if a figure is beyond its limit")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    model = assemble(random_model(*options.shape.split(":")), context=CONTEXT, threads=options.threads)
    bench = Bench(model, options.rounds)
    print(f"{options.shape}: {model.program.report().summary}")
    for _ in range(options.rounds):
        for part in options.only:
            with Engine(model.program) as engine:
                engine.submit(bench.request(bench.prompt(64), 4)).result()  # a warm-up
                getattr(bench, part)(engine)
    found = list(rows(bench.figures))
    for name, median, relation, limit, right in found:
        values = " ".join(f"{value:.3f}" for value in bench.figures[name])
        print(f"{name:24}{median:8.3f}  {relation} {limit:<6}{'ok' if right else 'beyond':8}{values}")
    if options.json:
        options.json.write_text(json.dumps(bench.figures, indent=1), encoding="utf-8")
    return int(options.check and not all(right for *_, right in found))


if __name__ == "__main__":
    sys.exit(main())
