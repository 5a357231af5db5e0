from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, Progress
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend import BackendConformance, logits_of, runner
from zigai_core.testing.toys import random_tensor, store_floats, toy_decoder
from zigai_kernels import NativeBackend, NativeProgram


class OtherCache(NativeBackend):
    """The backend with a given cache type in place of the default in the options."""

    def __init__(self, instruction_set: str | None, kv_dtype: str) -> None:
        super().__init__(instruction_set)
        self.kv_dtype = kv_dtype

    def ignored(self, options: CompileOptions) -> Mapping[str, str]:
        replaced = options.kv_dtype == CompileOptions.kv_dtype
        return {"kv_dtype": f"the cache is {self.kv_dtype}"} if replaced else {}

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NativeProgram:
        if options.kv_dtype == CompileOptions.kv_dtype:
            options = dataclasses.replace(options, kv_dtype=self.kv_dtype)
        return super().compile(graph, weights, options, progress)


class TestNativeBackend(BackendConformance):
    """The conformance suite, with bitwise equality, on each instruction set; F32 cache like the reference."""

    tolerance = 0
    reference_tolerance = 5e-5

    @pytest.fixture(autouse=True)
    def each_instruction_set(self, backend: Backend) -> Iterator[None]:
        assert isinstance(backend, NativeBackend)
        type(self).backend = OtherCache(backend.instruction_set, "F32")
        yield


class TestNativeBackendWithAnEightBitCache(BackendConformance):
    """The conformance suite with a Q8_0 cache, and the tolerance to the reference that it needs."""

    tolerance = 0
    reference_tolerance = 0.1
    relative = 0.02

    @pytest.fixture(autouse=True)
    def each_instruction_set(self, backend: Backend) -> Iterator[None]:
        assert isinstance(backend, NativeBackend)
        type(self).backend = OtherCache(backend.instruction_set, "Q8_0")
        yield


def toy_of(dtype: str) -> ModelDescriptor:
    """A toy with matrices of a type.

    Integers have a deviation of 1/2, as otherwise almost all would be zero; small norms make up for it.
    """
    integers = dtype in ("I8", "I16", "I32", "I64")

    def maker(
        name: str, shape: tuple[int, ...], dtype: str, random: np.random.RandomState, std: float
    ) -> Any:
        return random_tensor(name, shape, dtype, random, 0.5 if integers else std)

    model = toy_decoder(dtype=dtype, width=256, hidden=512, head_dim=32, heads=8, kv_heads=2, maker=maker)
    scaled = {
        name: tensor.changed(data=store_floats(tensor.to_float32() / 10, "F32"))
        for name, tensor in model.tensors.items()
        if integers and name.endswith("norm.weight")
    }
    return dataclasses.replace(model, tensors={**model.tensors, **scaled})


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kl_divergence_from_the_reference_is_small_for_every_type(backend: Backend, dtype: str) -> None:
    model = toy_of(dtype)
    tokens = list(np.random.RandomState(9).randint(0, 512, 30))
    logits = []
    for at in (runner(NumpyBackend(), model), runner(backend, model)):
        logits.append(logits_of(at, at.new_sequence(), tokens).astype(np.float64))
    expected, actual = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in logits)
    assert np.ptp(expected, axis=1).min() > 1  # uniform distributions would hide every difference
    divergence = (np.exp(expected) * (expected - actual)).sum(axis=1)
    assert divergence.mean() <= 1e-3
