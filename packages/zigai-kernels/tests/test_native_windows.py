"""An engine gives up the pages of a window while a request runs, and its numbers stay the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, Program
from zigai_core.contracts.state import KVCache
from zigai_core.engine.engine import Engine
from zigai_core.engine.pages import window_pages
from zigai_core.engine.request import Budget
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import random_tensors

WIDTH, VOCABULARY, CONTEXT, PAGE, BATCH = 32, 90, 192, 4, 8
TENSORS = random_tensors(
    {"embedding.weight": (VOCABULARY, WIDTH)}
    | {f"{part}{layer}.weight": (WIDTH, WIDTH) for layer in range(3) for part in "qkv"}
)
OPTIONS = CompileOptions(context=CONTEXT, batch=BATCH, page=PAGE, threads=2, kv_dtype="F32")
FREQUENCIES = np.array([1.0, 0.3, 0.1, 0.03], np.float32)
PROMPT = [int(token) for token in np.random.RandomState(5).randint(0, VOCABULARY, 100)]


def graph_of(*windows: int | None) -> Graph:
    """A layer for each window."""
    g = GraphBuilder(TENSORS)
    x = g.embedding("embedding", WIDTH)
    for layer, window in enumerate(windows):
        q, k, v = (g.linear(x, f"{part}{layer}", WIDTH) for part in "qkv")
        q = g.rope(q, 8, FREQUENCIES, "half", name=f"q{layer}.rope")
        k = g.rope(k, 8, FREQUENCIES, "half", name=f"k{layer}.rope")
        state = g.state(f"cache {layer}", KVCache(4, 8, 8, window))
        how = {"heads": 4, "kv_heads": 4, "head_dim": 8, "window": window}
        y = g.attention(q, k, v, state=state, name=f"attention{layer}", **how)
        x = g.add(x, y, name=f"x{layer}")
    g.output("logits", g.linear(g.select(x), "embedding", VOCABULARY, name="logits"))
    return g.finish()


def run(program: Program, tools: Any, **budget: int) -> Any:
    """Tokens and logits of two replies side by side, and the most pages in use by group."""
    with Engine(program, budget=Budget(**budget)) as engine:
        streams = [
            engine.submit(tools.ask(prompt, max_tokens=60, outputs="logits", rows="all"))
            for prompt in (PROMPT, PROMPT[::-1])
        ]
        used = [0] * len(program.graph.groups)
        back = [0] * len(used)
        while engine.step():
            engine.check()
            for stream in streams:
                while stream.poll() is not None:
                    pass
            for g, group in enumerate(engine.stats().groups):
                used[g] = max(used[g], group.used)
                if engine.stats().running == 2:
                    back[g] = max(back[g], group.known)
        assert engine.stats().preemptions == 0
        first = [(stream.result().tokens, stream.outputs) for stream in streams]
        # the whole text as a prompt: logits of all tokens, those of the reply too
        texts = [[*stream.request.prompt, *stream.tokens] for stream in streams]
        again = [
            engine.submit(tools.ask(text, max_tokens=0, outputs="logits", rows="all")).outputs
            for text in texts
        ]
    return first, again, used, back


@pytest.mark.parametrize("windows", [(12,), (6, None, 20)], ids=["window", "windows and full attention"])
def test_pages_given_up_change_no_number(tools: Any, backend: Backend, windows: tuple[int | None]) -> None:
    graph = graph_of(*windows)
    program = backend.compile(graph, TENSORS, OPTIONS)
    pages = -(-CONTEXT // PAGE)
    small, whole, used, back = run(program, tools, tokens=2 * CONTEXT, sequences=2)
    for g, group in enumerate(graph.groups):
        text = -(-(len(PROMPT) + 60) // PAGE)
        if group.window is None:
            assert used[g] > 1.5 * text
            continue
        assert used[g] <= 2 * window_pages(group.window, BATCH, PAGE) < text  # of two replies
        assert back[g] > 0, "no page of a window was given up while both replies ran"
    large, whole_large, _, _ = run(program, tools, tokens=20 * pages * PAGE, sequences=40)
    numpy, whole_numpy, _, _ = run(
        NumpyBackend().compile(graph, TENSORS, OPTIONS), tools, tokens=20 * CONTEXT, sequences=40
    )
    for (tokens, logits), (same, same_logits), (defined, defined_logits) in zip(
        small, large, numpy, strict=True
    ):
        assert tokens == same == defined
        np.testing.assert_array_equal(logits, same_logits)
        np.testing.assert_allclose(logits, defined_logits, rtol=0, atol=1e-4)
    for logits, same_logits, defined_logits in zip(whole, whole_large, whole_numpy, strict=True):
        np.testing.assert_array_equal(logits, same_logits)
        np.testing.assert_allclose(logits, defined_logits, rtol=0, atol=1e-4)
