"""Random requests, in any company and with any budget, get what each gets alone.

On the native backend tokens and logits are equal bit for bit; on numpy logits are equal within a tolerance.
`ZIGAI_ENGINE_OPERATIONS` sets the number of operations.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.loading import build
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Backend, Program
from zigai_core.contracts.state import KVCache
from zigai_core.engine.drafters import NgramDrafter
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.graphs import core_recurrent_graph, core_recurrent_tensors
from zigai_core.testing.oracles import Oracle
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend

OPERATIONS = int(os.environ.get("ZIGAI_ENGINE_OPERATIONS", "400"))
PAGE, CONTEXT = 8, 96


ROOT = Path(__file__).parents[1]
HYBRIDS = {
    "mamba2": "zigai-mamba/tests/oracles/mamba2.npz",
    "lfm2": "zigai-lfm/tests/oracles/lfm2.npz",
    "granitehybrid": "zigai-mamba/tests/oracles/granitehybrid.npz",
    "qwen3next": "zigai-qwen/tests/oracles/qwen3next.npz",
}
"""Tiny models with recurrent states, by architecture."""


def program_of(backend: Backend, kind: int | str | None) -> Program:
    """A toy whose layers all see everything, or have a window, or are beside recurrent states; or a model."""
    options = CompileOptions(context=CONTEXT, batch=24, page=PAGE, threads=2)
    if kind == "recurrent":
        tensors = core_recurrent_tensors(256)
        return backend.compile(core_recurrent_graph(tensors, attention=True), tensors, options)
    if isinstance(kind, str):
        pytest.importorskip(f"zigai_{HYBRIDS[kind].split('/')[0].removeprefix('zigai-')}")
        tiny = Oracle.load(ROOT / "packages" / HYBRIDS[kind]).model
        return backend.compile(build(tiny, context=CONTEXT), tiny.tensors, options)
    window = kind if isinstance(kind, int) else None
    model = toy_decoder(layers=2, vocabulary=256)
    graph = decoder(model, context=CONTEXT, pairing="adjacent", window=window)
    return backend.compile(graph, model.tensors, options)


@dataclass(frozen=True)
class Ask:
    """What a request asks, so that it can be asked again alone."""

    prompt: tuple[int, ...]
    tokens: int
    seed: int
    drafts: bool

    def request(self) -> Request:
        return Request(
            self.prompt,
            max_tokens=self.tokens,
            sampler=Sampler(SamplingOptions(seed=self.seed, temperature=1.2)),
            outputs="logits",
            drafter=NgramDrafter(shortest=1) if self.drafts else None,
        )


class Company:
    """An engine with random requests, and what each of them gets alone."""

    def __init__(self, program: Program, budget: Budget, seed: int) -> None:
        self.program = program
        self.vocabulary = program.graph.outputs["logits"].width
        self.random = np.random.RandomState(seed)
        self.engine = Engine(program, budget=budget)
        self.open: list[tuple[Ask, Stream]] = []
        self.known: dict[Ask, tuple[list[int], Array]] = {}
        self.vocabulary = next(iter(program.graph)).weights[0].shape[0]
        self.stems = [self._tokens(40) for _ in range(3)]
        self.compared = 0

    def _tokens(self, count: int) -> tuple[int, ...]:
        return tuple(int(token) for token in self.random.randint(3, self.vocabulary, count))

    def operate(self) -> None:
        """Does something at random."""
        what = self.random.rand()
        if what < 0.25 and len(self.open) < 12:
            stem = self.stems[self.random.randint(3)][: self.random.randint(1, 41)]
            prompt = stem + self._tokens(self.random.randint(0, 6))
            tokens, seed = int(self.random.randint(1, 30)), int(self.random.randint(4))
            ask = Ask(prompt, tokens, seed, bool(self.random.rand() < 0.3))
            self.open.append((ask, self.engine.submit(ask.request())))
        elif what < 0.29 and self.open:
            ask, stream = self.open[self.random.randint(len(self.open))]
            twin = Ask(ask.prompt, ask.tokens, ask.seed + 10, ask.drafts)
            self.open.append((twin, self.engine.fork(stream, twin.request())))
        elif what < 0.33 and self.open:
            self.open.pop(self.random.randint(len(self.open)))[1].close()
        elif what < 0.40 and self.open:
            self._finish(self.open.pop(self.random.randint(len(self.open))))
        else:
            self.engine.step()
        self.engine.check()

    def _finish(self, asked: tuple[Ask, Stream]) -> None:
        ask, stream = asked
        stream.result()
        tokens, logits = self._alone(ask)
        if self.program.batch_invariant:
            assert stream.tokens == tokens
            np.testing.assert_array_equal(stream.outputs, logits)
        else:
            np.testing.assert_allclose(stream.outputs, logits, rtol=0, atol=1e-4)
        self.compared += 1

    def _alone(self, ask: Ask) -> tuple[list[int], Array]:
        if ask not in self.known:
            plain = Ask(ask.prompt, ask.tokens, ask.seed, False)
            with Engine(self.program) as engine:
                stream = engine.submit(plain.request()).result()
                self.known[ask] = stream.tokens, stream.outputs
        return self.known[ask]

    def end(self) -> Any:
        while self.open:
            self._finish(self.open.pop())
        self.engine.check()
        stats = self.engine.stats()
        self.engine.close()
        return stats


@pytest.mark.parametrize("kind", [None, 20, "recurrent", *HYBRIDS])
@pytest.mark.parametrize("pages", [13, 40])
@pytest.mark.parametrize("backend", [NativeBackend(), NumpyBackend()], ids=["native", "numpy"])
def test_replies_in_company_are_those_alone(backend: Backend, pages: int, kind: int | str | None) -> None:
    program = program_of(backend, kind)
    company = Company(program, Budget(tokens=pages * PAGE, sequences=6), seed=pages)
    for _ in range(OPERATIONS):
        company.operate()
    stats = company.end()
    assert company.compared > OPERATIONS / 20
    assert stats.cached_tokens > 0
    assert stats.running == stats.waiting == 0
    if pages == 13 and any(isinstance(state.spec, KVCache) for state in program.graph.states):
        assert stats.preemptions > 0  # slots are as many as sequences
