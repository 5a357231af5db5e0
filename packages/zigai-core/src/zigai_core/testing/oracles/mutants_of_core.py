"""Mutants of single operations of core: changes that authors of graphs have made, beyond those of fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from zigai_core.contracts.graph import Graph, Operation, Value
from zigai_core.contracts.state import KVCache
from zigai_core.ops.operations import (
    Attention,
    Concat,
    Embedding,
    GaussianCut,
    HeadLinear,
    Inputs,
    LayerNorm,
    Linear,
    MixStreams,
    PositionEmbedding,
    RMSNorm,
    Rope,
    TypeEmbedding,
)
from zigai_core.testing.oracles.mutant_operations import (
    HEADS,
    REVERSED_HEADS,
    CausalAttention,
    FirstTypes,
    NextPositions,
    OtherTypes,
    PermutedHeads,
    ReversedInputs,
    SampleCut,
    TailRope,
    TransposedMix,
    WholeRowNorm,
    WithOtherWeight,
)

Replacement = tuple[str, tuple[Operation, ...]]
"""What is changed, and the operations in place of one, the last of which has its output."""


def _other_norms(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if isinstance(operation, RMSNorm):
        if operation.weight.shape[0] == operation.x.width:
            norm = LayerNorm(operation.output, operation.x, operation.weight, operation.epsilon)
            yield "LayerNorm, not RMSNorm", (norm,)
        elif operation.groups is None:
            whole = WholeRowNorm(operation.output, operation.x, operation.weight, operation.epsilon)
            yield "RMSNorm of the whole row", (whole,)
    if isinstance(operation, LayerNorm) and operation.weight is not None and operation.bias is None:
        norm_of = RMSNorm(operation.output, operation.x, operation.weight, operation.epsilon)
        yield "RMSNorm, not LayerNorm", (norm_of,)


def _other_matrices(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if not isinstance(operation, Linear):
        return
    for other in graph:
        beside = isinstance(other, Linear) and other.x == operation.x
        is_head = isinstance(other, Embedding) and operation.output in graph.outputs.values()
        for weight in other.weights[:1] if beside or is_head else ():
            if weight.shape == operation.weight.shape and weight != operation.weight:
                yield f"by {weight.name}", (replace(operation, weight=weight),)


def _other_attention(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if not isinstance(operation, Attention):
        return
    heads, kv_heads = operation.heads, operation.kv_heads
    if 1 < kv_heads < heads:
        # Head h belongs to KV head h mod kv_heads.
        order = np.arange(heads).reshape(kv_heads, -1).T.reshape(-1)
        there = np.argsort(order)
        query, out = operation.query, operation.output
        moved = Value(f"{out.name} of other heads", out.width, out.rows)
        asked = Value(f"{query.name} of other heads", query.width, query.rows)
        yield (
            "query heads of other KV heads",
            (
                PermutedHeads(asked, query, order, operation.key_dim),
                replace(operation, query=asked, output=moved),
                PermutedHeads(out, moved, there, operation.value_dim),
            ),
        )
    if operation.state is None:
        own = {field.name: getattr(operation, field.name) for field in fields(operation)}
        yield "causal", (CausalAttention(**own),)


def _other_windows(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    """Other windows and chunks, in the state, too."""
    if not isinstance(operation, Attention):
        return
    for name in ("window", "chunk"):
        length = getattr(operation, name)
        if length is None or operation.state is None or not isinstance(operation.state.spec, KVCache):
            continue  # without a state, the fields alone say it
        for other in (None, length + 1, length - 1, length * 2):
            state = replace(operation.state, spec=replace(operation.state.spec, window=other))
            label = "left out" if other is None else f"is {other}, not {length}"
            changed: dict[str, Any] = {name: other, "state": state}
            yield f"{name} {label}", (replace(operation, **changed),)


def _other_rope(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if isinstance(operation, Rope) and 2 * len(operation.frequencies) < operation.head_dim:
        own = {field.name: getattr(operation, field.name) for field in fields(operation)}
        yield "of the last elements of a head", (TailRope(**own),)


def _other_heads(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if isinstance(operation, HeadLinear):
        _, outputs, inputs = operation.weight.shape
        for change in HEADS if outputs == inputs else (REVERSED_HEADS,):
            yield (
                f"{operation.weight.name} {change}",
                (WithOtherWeight(operation.output, operation, operation.weight, change),),
            )


def _other_concat(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if isinstance(operation, Concat) and not operation.shared:
        yield "the other part first", (replace(operation, a=operation.b, b=operation.a),)


def _other_positions(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if isinstance(operation, PositionEmbedding):
        yield "of the next positions", (NextPositions(operation.output, operation.weight),)


def _other_types(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if isinstance(operation, TypeEmbedding) and operation.type_limit > 1:
        yield "of type 0 alone", (FirstTypes(operation.output, operation.weight),)
        yield "of the next types", (OtherTypes(operation.output, operation.weight),)


def _other_streams(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if isinstance(operation, MixStreams) and operation.shares.width == operation.streams**2 > 1:
        own = {field.name: getattr(operation, field.name) for field in fields(operation)}
        yield "with transposed shares", (TransposedMix(**own),)
    if isinstance(operation, GaussianCut) and operation.x.width > 1:
        yield "deviation of a sample", (SampleCut(operation.output, operation.x, operation.factor),)


def _other_inputs(graph: Graph, operation: Operation) -> Iterator[Replacement]:
    if isinstance(operation, Inputs):
        yield "embeddings in the reverse order", (ReversedInputs(operation.output, operation.x),)


OF_OPERATIONS: Sequence[Callable[[Graph, Operation], Iterator[Replacement]]] = (
    _other_norms,
    _other_matrices,
    _other_attention,
    _other_windows,
    _other_rope,
    _other_heads,
    _other_concat,
    _other_positions,
    _other_types,
    _other_streams,
    _other_inputs,
)
"""Functions that yield the mutants of an operation of some type; none of others."""
