"""What the conformance suite does not see: hyperparameters that no oracle has."""

from __future__ import annotations

import dataclasses

import pytest

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import FormatError
from zigai_core.ops.operations import Rope
from zigai_core.testing.toys import toy_decoder
from zigai_llama import llama


def test_rope_rotates_only_the_first_rope_dimension_count_elements() -> None:
    ropes = [op for op in llama(toy_decoder(rope__dimension_count=8), context=64) if isinstance(op, Rope)]
    assert {(len(op.frequencies), op.head_dim) for op in ropes} == {(4, 16)}


def test_a_missing_hyperparameter_is_an_error_that_names_it() -> None:
    model = toy_decoder()
    hp = {key: value for key, value in model.hyperparameters.items() if key != "feed_forward_length"}
    with pytest.raises(FormatError, match=r"llama\.feed_forward_length is missing"):
        llama(dataclasses.replace(model, hyperparameters=Hyperparameters(hp, prefix="llama")), context=64)
