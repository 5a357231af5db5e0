"""Runs single operations on each instruction set, beside the numpy reference."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cffi import FFI
from numpy.typing import NDArray

import zigai_kernels.backend
from zigai_core.contracts.batch import Batch
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.graph import WANTED, Array, Graph, Operation, Value, Weight
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, Context
from zigai_core.ops.operations import Embedding, Select
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import random_tensor, store_floats
from zigai_kernels import NativeBackend
from zigai_kernels.dispatch import serve_signals, supported

NATIVE = Path(__file__).resolve().parents[1] / "native"
EMULATED = "avx512-emulated"


@pytest.fixture(scope="session")
def compile_native(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, FFI], ModuleType]:
    """Compiles a cffi module under a name of its own and imports it."""

    def compile_(name: str, builder: FFI) -> ModuleType:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("LD_PRELOAD", raising=False)  # a sanitizer's runtime is for this process alone
            path = builder.compile(str(tmp_path_factory.mktemp(name)))
        return load_file(name, Path(path))

    return compile_


@pytest.fixture(scope="session")
def native_build() -> ModuleType:
    """`native/build.py`."""
    return load_file("native_build", NATIVE / "build.py")


@pytest.fixture(scope="session")
def emulated_avx512(native_build: ModuleType, compile_native: Callable[[str, FFI], ModuleType]) -> ModuleType:
    """The AVX-512 module with its instructions emulated by AVX2, for machines that do not have them."""
    assert "avx2" in supported(), "emulating AVX-512 takes a CPU with AVX2"
    # -O1, since it compiles in half the time and nothing here is measured.
    flags = [*native_build.FLAGS, "-O1", "-Wno-psabi", "-DZG_EMULATE", *native_build.INSTRUCTION_SETS["avx2"]]
    name = "_native_emulated"
    module = compile_native(name, native_build.builder("avx512", name, flags))
    serve_signals(module)
    return module


def load_file(name: str, path: Path) -> ModuleType:
    """Import a file under a name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


REAL = ["baseline", "avx2", *(["avx512"] if "avx512" in supported() else [])]


@pytest.fixture(params=[*REAL, pytest.param(EMULATED, marks=pytest.mark.emulated)])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The native backend on each instruction set that can run here."""
    if request.param == EMULATED:
        module = request.getfixturevalue("emulated_avx512")
        monkeypatch.setattr(zigai_kernels.backend, "choose", lambda asked: asked)
        monkeypatch.setattr(zigai_kernels.backend, "load", lambda name: module)
    elif request.param not in supported():
        pytest.skip(f"this machine does not run {request.param}")
    yield NativeBackend(request.param)


def batch_of(
    tokens: Sequence[int],
    *,
    first: int = 0,
    sequences: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    wanted: Sequence[int] | None = None,
    tables: Sequence[Sequence[int]] | None = None,
) -> Batch:
    """A batch; by default one sequence from position `first` on, all rows wanted, pages in order."""
    count = len(tokens)
    positions = range(first, first + count) if positions is None else positions
    return Batch(
        tokens=np.array(tokens, np.int32),
        positions=np.array(positions, np.int32),
        sequences=np.array(sequences or [0] * count, np.int32),
        wanted=np.array(range(count) if wanted is None else wanted, np.int32),
        page_tables=[np.array(t, np.int32) for t in (tables or [range(max(positions) + 1)])],
    )


@dataclass
class Sketch:
    """A graph under construction whose inputs are rows of numbers: row i is what token i embeds to."""

    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def tensor(self, name: str, values: NDArray[Any], dtype: str = "F32") -> Weight:
        """A float tensor with these values."""
        data = store_floats(np.asarray(values, np.float32).reshape(-1), dtype)
        self.tensors[name] = TensorInfo(name, values.shape, DTYPES[dtype], data)
        return Weight(name, values.shape)

    def stored(self, name: str, tensor: TensorInfo) -> Weight:
        """A tensor as it is."""
        self.tensors[name] = TensorInfo(name, tensor.shape, tensor.dtype, tensor.data)
        return Weight(name, tensor.shape)

    def random(
        self, name: str, shape: tuple[int, ...], dtype: str, seed: int = 0, std: float = 1.0
    ) -> Weight:
        """A tensor of random values."""
        tensor = random_tensor(name, shape, dtype, np.random.RandomState(seed), std)
        return self.stored(name, tensor)

    def input(self, name: str, rows: NDArray[Any]) -> Value:
        """A value whose row for token i is `rows[i]`."""
        rows = np.asarray(rows, np.float32)
        value = Value(name, rows.shape[1])
        self.operations.append(Embedding(value, self.tensor(f"{name}.weight", rows)))
        return value

    def add(self, operation: Operation) -> Value:
        """An operation; its output."""
        self.operations.append(operation)
        return operation.output

    def graph(self, **outputs: Value) -> Graph:
        """The graph, whose outputs are all rows of these values."""
        named: dict[str, Value] = {}
        for name, value in (outputs or {"logits": self.operations[-1].output}).items():
            if value.rows != WANTED:
                value = self.add(Select(Value(f"{value.name}.wanted", value.width, WANTED), value))
            named[name] = value
        return Graph(tuple(self.operations), named)

    def context(self, backend: Backend, options: CompileOptions | None = None, sequences: int = 1) -> Context:
        """A context of the graph's program. Call once."""
        return backend.compile(self.graph(), self.tensors, options or LIMITS).new_context(sequences)


LIMITS = CompileOptions(context=64, batch=40, page=1, threads=2, kv_dtype="F32")


@dataclass(frozen=True)
class Tools:
    """What the tests of this package share."""

    sketch: type[Sketch]
    batch: Callable[..., Batch]
    options: CompileOptions

    def reference(self, sketch: Sketch, batch: Batch) -> Array:
        """The numpy reference's logits."""
        program = NumpyBackend().compile(sketch.graph(), sketch.tensors, self.options)
        return program.new_context(4).run(batch)["logits"]

    def compare(
        self,
        backend: Backend,
        sketch: Sketch,
        batch: Batch,
        *,
        atol: float = 1e-5,
        options: CompileOptions = LIMITS,
    ) -> Mapping[str, Array]:
        """The outputs of the native backend, which must be near the reference's."""
        graph = sketch.graph()
        expected = NumpyBackend().compile(graph, sketch.tensors, options).new_context(4).run(batch)
        actual = backend.compile(graph, sketch.tensors, options).new_context(4).run(batch)
        for name, value in expected.items():
            np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=atol)
        return actual


@pytest.fixture
def tools() -> Tools:
    """See `Tools`."""
    return Tools(Sketch, batch_of, LIMITS)
