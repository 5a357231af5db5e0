"""The graph of Gemma 3n: streams, gates that are cut, and caches that layers share."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.operations import Attention, GaussianCut, MatchMagnitude, MixStreams, SoftCap
from zigai_core.testing.oracles import Oracle
from zigai_core.testing.oracles.oracle import float_tensor
from zigai_gemma import gemma3n
from zigai_gemma.huggingface_gemma3n import GEMMA3N_TEXT
from zigai_gemma.sparsity import sparsity

ORACLE = Oracle.load(Path(__file__).parent / "oracles" / "gemma3n.npz")
SPARSITY = GEMMA3N_TEXT.computed["activation_sparsity_pattern", "num_hidden_layers"]


def changed(**values: Any) -> ModelDescriptor:
    return dataclasses.replace(ORACLE.model, hyperparameters=ORACLE.model.hyperparameters.replaced(**values))


def operations(graph: Graph, kind: type) -> list[Any]:
    return [operation for operation in graph if isinstance(operation, kind)]


def test_the_last_layers_read_the_caches_of_earlier_ones() -> None:
    attentions = operations(gemma3n(ORACLE.model, context=64), Attention)
    assert [op.state.name for op in attentions] == ["blk.0", "blk.1", "blk.0", "blk.1"]
    assert [(op.window, op.scale) for op in attentions] == [(7, 1), (None, 1), (7, 1), (None, 1)]


def test_streams_are_mixed_by_all_and_corrected_by_one() -> None:
    graph = gemma3n(ORACLE.model, context=64)
    assert [(op.streams, op.offset) for op in operations(graph, MixStreams)] == [(3, 0.0), (1, 1.0)] * 4
    assert {op.least for op in operations(graph, MatchMagnitude)} == {1e-5}


def test_gates_are_cut_where_the_file_says_so() -> None:
    cuts = operations(gemma3n(ORACLE.model, context=64), GaussianCut)
    # The quantiles of the standard normal distribution at 0.7 and 0.3.
    assert [op.output.name for op in cuts] == ["blk.0.ffn_gate_cut", "blk.3.ffn_gate_cut"]
    np.testing.assert_allclose([op.factor for op in cuts], [0.524400513, -0.524400513], rtol=1e-6)


def test_without_a_factor_the_first_ten_layers_are_cut_and_logits_have_the_cap_of_llama_cpp() -> None:
    hp = Hyperparameters({}, prefix="gemma3n")
    assert sparsity(hp, 12) == [1.6448533535] * 10 + [None] * 2
    values = {key: value for key, value in ORACLE.model.hyperparameters.items() if "softcap" not in key}
    model = dataclasses.replace(ORACLE.model, hyperparameters=Hyperparameters(values, prefix="gemma3n"))
    assert [op.cap for op in operations(gemma3n(model, context=64), SoftCap)] == [30.0]
    without = gemma3n(changed(final_logit_softcapping=0.0), context=64)
    assert operations(without, SoftCap) == []


@pytest.mark.parametrize("given", [[0.5, -math.inf], np.array([0.5, -math.inf], np.float32)])
def test_a_factor_of_minus_infinity_is_no_cut(given: Any) -> None:
    hp = Hyperparameters({"activation_sparsity_scale": given}, prefix="gemma3n")
    assert sparsity(hp, 2) == [0.5, None]


@pytest.mark.parametrize(
    "given",
    [
        [0.5],
        [0.5, math.inf],
        [0.5, math.nan],
        ["x", "y"],
        "x",
        [None, 1.0],
        [True, 0.5],
        [0.5, 1e300],
        [0.5, -1e300],
        pytest.param([0.5, 10**400], id="huge"),
    ],
)
def test_factors_that_are_none_are_named(given: Any) -> None:
    hp = Hyperparameters({"activation_sparsity_scale": given}, prefix="gemma3n")
    with pytest.raises(FormatError, match=r"gemma3n\.activation_sparsity_scale is .*a number for each of 2"):
        sparsity(hp, 2)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"altup__active_idx": 3}, r"gemma3n\.altup\.active_idx is 3, outside 0\.\.2"),
        ({"altup__num_inputs": 1}, r"gemma3n\.altup\.num_inputs is 1, outside 2\.\.64"),
        ({"attention__shared_kv_layers": 3}, r"lets layer 1 read the cache of an earlier layer without a"),
    ],
)
def test_a_hyperparameter_that_does_not_fit_is_named(values: dict[str, Any], error: str) -> None:
    with pytest.raises(FormatError, match=error):
        gemma3n(changed(**values), context=64)


def test_matrices_of_low_rank_that_do_not_fit_each_other_are_named() -> None:
    tensor = float_tensor("blk.0.laurel_l.weight", np.ones((6, 32), np.float32))
    model = dataclasses.replace(ORACLE.model, tensors={**ORACLE.model.tensors, tensor.name: tensor})
    with pytest.raises(
        ShapeError, match=r"blk\.0\.laurel_l\.weight has 6 rows, but blk\.0\.laurel_r\.weight 5"
    ):
        gemma3n(model, context=64)


def test_shares_of_activations_become_deviations() -> None:
    found = SPARSITY([0.95, 0.5, 0.0, -1], 4)["activation_sparsity_scale"]
    np.testing.assert_allclose(found, [1.6448536, 0.0, -math.inf, -math.inf], rtol=1e-6)
    assert SPARSITY(None, 10)["activation_sparsity_scale"] == [-math.inf] * 10
    assert SPARSITY(None, 12)["activation_sparsity_scale"][9:] == [found[0], -math.inf, -math.inf]


@pytest.mark.parametrize("shares", [[0.5], [1, 0], [True, 0.5], ["x", 0.5], 0.5, [math.nan, 0.5]])
def test_shares_that_are_none_are_errors(shares: Any) -> None:
    with pytest.raises(ValueError, match=r"must be an? "):
        SPARSITY(shares, 2)


def test_one_hidden_width_for_each_layer_is_one_for_all_if_they_are_the_same() -> None:
    hidden = GEMMA3N_TEXT.computed["intermediate_size"]
    assert hidden(8) == hidden([8, 8]) == {"feed_forward_length": 8}
    assert hidden([8, 9]) == {"feed_forward_length": [8, 9]}
