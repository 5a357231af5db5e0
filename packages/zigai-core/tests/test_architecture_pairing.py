"""Models are stored with adjacent pairs for RoPE only where they would stay the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder
from zigai_core.ops.operations import Attention
from zigai_core.testing.architecture.pairing import with_adjacent_pairs
from zigai_core.testing.toys import toy_decoder


def test_rows_of_what_is_rotated_are_put_into_the_order_of_adjacent_pairs() -> None:
    model = toy_decoder("llama", kv_heads=2, head_dim=32)
    found = with_adjacent_pairs(model, decoder(model, context=64))
    before, after = (each.tensors["blk.0.attn_k.weight"].to_float32() for each in (model, found))
    order = np.arange(64).reshape(2, 2, 16).transpose(0, 2, 1).reshape(-1)  # [head, half, pair]
    np.testing.assert_array_equal(after, before[order])
    np.testing.assert_array_equal(
        found.tensors["blk.0.attn_v.weight"].to_float32(), model.tensors["blk.0.attn_v.weight"].to_float32()
    )


def test_keys_that_are_values_too_have_one_order() -> None:
    model = toy_decoder("llama", kv_heads=2, head_dim=32)
    graph = decoder(model, context=64)
    keys = next(op.output for op in graph if op.output.name == "blk.0.attn_k")
    operations = tuple(
        dataclasses.replace(op, value=keys) if isinstance(op, Attention) and op.output.name[4] == "0" else op
        for op in graph
    )
    changed = Graph(operations, graph.outputs)
    with pytest.raises(UnsupportedError, match=r"blk\.0\.attn_k, which RoPE rotates, is read as it is, too"):
        with_adjacent_pairs(model, changed)
