"""Every value of a graph as an output of the native backend."""

from __future__ import annotations

import numpy as np
import pytest

from zigai_core.contracts.options import CompileOptions
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.ops.traced import traced
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend

TOKENS = [int(token) for token in np.random.default_rng(1).integers(0, 300, 40)]


@pytest.mark.parametrize("fused", [True, False])
def test_a_traced_program_has_the_same_logits_and_the_reference_s_values(fused: bool) -> None:
    model = toy_decoder(layers=2, vocabulary=300)
    graph = decoder(model, context=64, pairing="half")
    options = CompileOptions(context=64, batch=64, kv_dtype="F32")
    results = []
    for backend, given in (
        (NativeBackend(fused=fused), graph),
        (NativeBackend(fused=fused), traced(graph)),
        (NumpyBackend(), traced(graph)),
    ):
        runner = DirectRunner(backend.compile(given, model.tensors, options))
        results.append(runner.run([Part(runner.new_sequence(), TOKENS, want_all=True)])[0])
    usual, native, reference = results
    np.testing.assert_array_equal(native["logits"], usual["logits"])
    assert list(native) == [operation.output.name for operation in graph]
    for name, values in reference.items():
        np.testing.assert_allclose(native[name], values, rtol=1e-3, atol=1e-3, err_msg=name)
