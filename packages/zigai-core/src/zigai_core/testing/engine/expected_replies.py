"""What a request gets from the checking executor, computed without an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.request import FinishReason
from zigai_core.engine.sampling import Sampler
from zigai_core.testing.engine.checking_executor import CheckingOutputs, expected_hash


def reply_alone(
    graph: Graph,
    prompt: Sequence[int],
    options: SamplingOptions,
    *,
    context: int,
    max_tokens: int | None = None,
    end_ids: frozenset[int] = frozenset(),
    shift: Callable[[Sequence[int]], Sequence[int]] | None = None,
) -> tuple[list[int], FinishReason]:
    """Returns the tokens of the reply and why it ends; without `shift`, it ends when the context is full."""
    sampler = Sampler(options)
    sampler.start(prompt)
    tokens, reply = list(prompt), list[int]()
    while max_tokens is None or len(reply) < max_tokens:
        token = sampler.sample(CheckingOutputs([expected_hash(tokens)], graph).rows("logits")[0])
        if token in end_ids:
            return reply, "end"
        if len(tokens) >= context:
            if shift is None:
                return reply, "context"
            tokens = list(shift(tokens))
        sampler.accept(token)
        tokens.append(token)
        reply.append(token)
    return reply, "length"


def expected_outputs(graph: Graph, tokens: Sequence[int]) -> Mapping[str, Array]:
    """Returns the outputs after each of these tokens, `[len(tokens), width]`."""
    hashes = [expected_hash(tokens[: end + 1]) for end in range(len(tokens))]
    outputs = CheckingOutputs(hashes, graph)
    return {name: outputs.rows(name) for name in graph.outputs}
