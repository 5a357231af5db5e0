"""Grouping of records into stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import WANTED, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.blocks import decoder, experts
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.toys import random_tensors, toy_decoder
from zigai_kernels import NativeBackend
from zigai_kernels.lowering import lower
from zigai_kernels.records import Record
from zigai_kernels.stages import LOOK_AHEAD, cut_stages


def outputs(*records: Record, fused: bool = True) -> list[list[str]]:
    return [[record.output for record in stage.records] for stage in cut_stages(records, fused=fused)]


def test_operations_on_the_same_rows_share_a_stage() -> None:
    records = Record("RMS_NORM", "a", "x"), Record("QUANTIZE", "b", "a"), Record("ADD", "c", "x", "y")
    assert outputs(*records) == [["a", "b", "c"]]
    assert outputs(*records, fused=False) == [["a"], ["b"], ["c"]]


def test_products_share_a_stage_unless_one_reads_another() -> None:
    records = Record("LINEAR", "q", "x"), Record("LINEAR", "k", "x"), Record("LINEAR", "o", "k")
    assert outputs(*records) == [["q", "k"], ["o"]]


def test_an_operation_that_reads_a_product_is_in_a_later_stage() -> None:
    records = (
        Record("QUANTIZE", "x8", "x"),
        Record("LINEAR", "y", "x8"),
        Record("QUANTIZE", "y8", "y"),
        Record("ADD", "z", "x", "y"),
    )
    assert outputs(*records) == [["x8"], ["y"], ["y8", "z"]]


def test_independent_records_join_an_earlier_stage() -> None:
    records = (
        Record("LINEAR", "q", "x"),
        Record("ROPE", "r", "q"),
        Record("LINEAR", "k", "x"),
        Record("ROPE", "s", "k"),
    )
    assert outputs(*records) == [["q", "k"], ["r", "s"]]


def test_attention_is_in_a_stage_after_the_store_that_it_reads() -> None:
    store = Record("STORE", "cache x", "k", "v")
    attention = Record("ATTENTION", "a", "q", after="cache x")
    assert outputs(Record("ROPE", "k", "w"), store, attention) == [["k", "cache x"], ["a"]]
    first = outputs(store, Record("ATTENTION", "b", "q", after="cache y"), attention)
    assert first.index(["cache x"]) < first.index(["a"])


def test_attention_without_a_state_stores_nothing_and_follows_its_keys_and_values() -> None:
    records = [record for stage in lower(encoder(), ENCODER).stages for record in stage.records]
    assert "STORE" not in [record.operation for record in records]
    products = [Record("LINEAR", name, "x") for name in "qkv"]
    assert outputs(*products, Record("ATTENTION", "a", "q", "k", more=("v",))) == [["q", "k", "v"], ["a"]]


ENCODER = random_tensors({"token_embd.weight": (9, 8)})


def encoder() -> Graph:
    """Two attentions without states that do not read each other."""
    g = GraphBuilder(ENCODER)
    x = g.embedding("token_embd", 8)
    a, b = (
        g.attention(x, x, x, state=None, heads=1, kv_heads=1, head_dim=8, name=name) for name in ("a", "b")
    )
    g.output("hidden", g.select(g.add(a, b, name="sum")))
    return g.finish()


@pytest.mark.parametrize(
    "other",
    [Record("QUANTIZE", "b", "y", rows=WANTED), Record("QUANTIZE", "b", "y", numbers={"repeat": 2})],
    ids=["other rows", "more rows"],
)
def test_operations_on_different_rows_are_separate_stages(other: Record) -> None:
    assert outputs(Record("QUANTIZE", "a", "x"), other) == [["a"], ["b"]]


def test_records_beyond_the_look_ahead_join_no_stage() -> None:
    chain = [Record("LINEAR", f"y{i}", f"y{i - 1}" if i else "x") for i in range(LOOK_AHEAD)]
    near = outputs(*chain[:-1], Record("LINEAR", "z", "x"))
    far = outputs(*chain, Record("LINEAR", "z", "x"))
    assert near[0] == ["y0", "z"]
    assert far[0] == ["y0"]


def test_a_layer_has_ten_stages() -> None:
    def stages(layers: int) -> list[str]:
        model = toy_decoder(layers=layers, width=64, hidden=96, dtype="Q8_0", bias=True)
        cut = lower(decoder(model, context=64, pairing="half"), model.tensors).stages
        return [" ".join(record.operation for record in stage.records) for stage in cut]

    assert stages(3)[1:11] == [
        "LINEAR LINEAR LINEAR",
        "ROPE ROPE STORE",
        "ATTENTION",
        "QUANTIZE",
        "LINEAR",
        "ADD RMS_NORM QUANTIZE",
        "LINEAR LINEAR",
        "GATED QUANTIZE",
        "LINEAR",
        "ADD RMS_NORM QUANTIZE",
    ]
    assert len(stages(3)) - len(stages(2)) == 10


MODELS: dict[str, ModelDescriptor] = {
    "llama": toy_decoder(dtype="Q8_0"),
    "biased, floats": toy_decoder(bias=True, tied=True),
    "normed heads": toy_decoder(dtype="Q8_0", qk_norm=True),
    "experts": toy_decoder(dtype="Q8_0", experts=4),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("threads", [1, 3])
def test_results_are_bitwise_the_same_without_fused_stages(name: str, threads: int, tools: Any) -> None:
    model = MODELS[name]
    hp = model.hyperparameters
    mixed = experts(hp, renormalise=True) if "expert_count" in hp else None
    graph = decoder(model, context=128, pairing="half", feed_forward=mixed)
    options = CompileOptions(context=128, batch=80, page=8, threads=threads)
    benches = [
        tools.bench(NativeBackend(fused=fused).compile(graph, model.tensors, options))
        for fused in (True, False)
    ]
    pages = [list(range(16))]
    for tokens, start in ((range(80), 0), ([3], 80), (range(9), 81)):
        batch = tools.batch(tokens, tables=pages, first=start)
        fused, apart = (bench.run(batch)["logits"] for bench in benches)
        np.testing.assert_array_equal(fused, apart)
