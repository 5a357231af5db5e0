"""The conformance suite for the types of the KV cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import KV_DTYPES
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.any_graph import GraphsConformance, rows_of
from zigai_core.testing.backend.base import outputs_of
from zigai_core.testing.backend.states import VOCABULARY, state_tensors, two_layers
from zigai_core.testing.checks import raises

TOKENS = [(7 * place) % VOCABULARY for place in range(32)]


class CacheTypesConformance(GraphsConformance):
    """Tests of each type of `CompileOptions.kv_dtype`.

    `kv_dtypes` are those that the backend accepts, be it that it ignores some; others must be refused.
    """

    kv_dtypes: ClassVar[tuple[str, ...]] = KV_DTYPES
    kv_tolerances: ClassVar[Mapping[str, float]] = {"F32": 0, "F16": 3e-3, "Q8_0": 0.01}
    """By type, what its rounding adds to the tolerances to the reference, absolute and relative.

    The reference stores F32 in place of F16, and rounds as Q8_0 does, but a value between two steps of Q8_0
    may be rounded to either.
    """

    def test_every_type_of_the_cache_agrees_with_the_reference(self) -> None:
        for kv_dtype in self.kv_dtypes:
            more = self.kv_tolerances[kv_dtype]
            for case, graph, program in self._programs(kv_dtype=kv_dtype):
                options = replace(self.options, kv_dtype=kv_dtype)
                reference = NumpyBackend().compile(graph, case.tensors, options)
                expected = rows_of(reference, case)
                for name, rows in rows_of(program, case).items():
                    np.testing.assert_allclose(
                        rows,
                        expected[name],
                        rtol=self.relative + more,
                        atol=self.reference_tolerance + more,
                        err_msg=f"{case.name}: {name}, {kv_dtype}",
                    )

    def test_a_type_of_the_cache_is_used_ignored_by_name_or_refused(self) -> None:
        graph, tensors = two_layers(), state_tensors()
        self._compile(graph, tensors, self.options)
        used: dict[str, Array] = {}
        ignored: dict[str, Array] = {}
        for kv_dtype in KV_DTYPES:
            options = replace(self.options, kv_dtype=kv_dtype)
            if kv_dtype not in self.kv_dtypes:
                raises(UnsupportedError, kv_dtype, self.backend.compile, graph, tensors, options)
                continue
            rows = outputs_of(self._compile(graph, tensors, options), TOKENS)["hidden"]
            (ignored if "kv_dtype" in self.backend.ignored(options) else used)[kv_dtype] = rows
        for name, rows in used.items():
            same = [other for other in used if other != name and np.array_equal(rows, used[other])]
            assert not same, f"{name} gives the same as {', '.join(same)}, and ignored does not say so"
        for name, rows in ignored.items():
            others = [other for key, other in (used | ignored).items() if key != name]
            # With one type alone there is nothing to compare it with.
            assert not others or any(np.array_equal(rows, other) for other in others), (
                f"ignored names kv_dtype for {name}, but no other type gives the same"
            )
