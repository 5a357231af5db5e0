"""Frequencies by the papers' formulas; the logits they lead to are compared with an oracle elsewhere."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies, rope_frequencies
from zigai_core.testing.toys import toy_decoder

PLAIN = 10000.0 ** -(np.arange(8) / 8)


def frequencies(model: ModelDescriptor, context: int = 512) -> RopeFrequencies:
    return rope_frequencies(GraphBuilder(model.tensors), model.hyperparameters, 16, context=context)


def with_factors(model: ModelDescriptor, **factors: float) -> ModelDescriptor:
    made = {}
    for name, factor in factors.items():
        stored = np.full(8, factor, dtype=np.float32)
        made[f"{name}.weight"] = TensorInfo(f"{name}.weight", (8,), DTYPES["F32"], stored.view(np.uint8))
    return dataclasses.replace(model, tensors={**model.tensors, **made})


def test_unscaled_frequencies_fall_from_one_by_powers_of_the_base() -> None:
    found = frequencies(toy_decoder())
    np.testing.assert_allclose(found.frequencies, PLAIN, rtol=1e-6)
    assert found.magnitude == 1.0


@pytest.mark.parametrize("key", ["rope__scaling__factor", "rope__scale_linear"])
def test_linear_scaling_by_its_new_and_its_old_key(key: str) -> None:
    kind = {"rope__scaling__type": "linear"} if "factor" in key else {}
    np.testing.assert_allclose(
        frequencies(toy_decoder(**{key: 4.0}, **kind)).frequencies, PLAIN / 4, rtol=1e-6
    )


def test_yarn_keeps_fast_pairs_divides_slow_ones_and_stretches() -> None:
    model = toy_decoder(
        rope__scaling__type="yarn", rope__scaling__factor=8.0, rope__scaling__original_context_length=4096
    )
    found = frequencies(model)
    share = PLAIN / found.frequencies
    assert share[0] == pytest.approx(1)
    assert share[-1] == pytest.approx(8)
    assert np.all(np.diff(share) >= -1e-6)
    assert found.magnitude == pytest.approx(1 + 0.1 * np.log(8))


def test_longrope_takes_the_factors_for_the_context_it_will_have() -> None:
    model = with_factors(
        toy_decoder(
            rope__scaling__type="longrope",
            rope__scaling__original_context_length=128,
            rope__scaling__attn_factor=1.19,
        ),
        rope_factors_short=2,
        rope_factors_long=16,
    )
    np.testing.assert_allclose(frequencies(model, context=128).frequencies, PLAIN / 2, rtol=1e-6)
    np.testing.assert_allclose(frequencies(model, context=129).frequencies, PLAIN / 16, rtol=1e-6)
    assert frequencies(model).magnitude == pytest.approx(1.19)


def test_longrope_without_its_factors_names_the_tensor() -> None:
    with pytest.raises(ShapeError, match=r"rope_factors_short\.weight is missing"):
        frequencies(toy_decoder(rope__scaling__type="longrope"))


def test_a_scaling_there_is_no_code_for_is_named_with_those_there_are() -> None:
    with pytest.raises(UnsupportedError, match=r"'dynamic'.*none, linear, yarn"):
        frequencies(toy_decoder(rope__scaling__type="dynamic"))
