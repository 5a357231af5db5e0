"""Fixtures: backends on each instruction set, small graphs, and comparison with the numpy reference."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cffi import FFI
from numpy.typing import NDArray

import zigai_kernels.backend
from zigai_core.contracts.batch import Batch, Pages
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.graph import WANTED, Array, Graph, Operation, Value, Weight
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Backend, Program
from zigai_core.contracts.state import KVCache, State
from zigai_core.engine.request import Request
from zigai_core.engine.sampling import Sampler
from zigai_core.ops.blocks import decoder
from zigai_core.ops.operations import Attention, Embedding, Linear, Scale, Select
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import random_tensor, store_floats, toy_decoder
from zigai_kernels import NativeBackend, NativeProgram
from zigai_kernels.dispatch import prepare, supported

NATIVE = Path(__file__).resolve().parents[1] / "native"
EMULATED = "avx512-emulated"


@pytest.fixture(scope="session")
def compile_native(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, FFI], ModuleType]:
    """A function that compiles a cffi module under a given name and imports it."""

    def compile_(name: str, builder: FFI) -> ModuleType:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("LD_PRELOAD", raising=False)  # of a sanitizer: the compiler must not load it
            path = builder.compile(str(tmp_path_factory.mktemp(name)))
        return load_file(name, Path(path))

    return compile_


@pytest.fixture(scope="session")
def native_build() -> ModuleType:
    """`native/build.py`."""
    return load_file("native_build", NATIVE / "build.py")


@pytest.fixture(scope="session")
def emulated_avx512(native_build: ModuleType, compile_native: Callable[[str, FFI], ModuleType]) -> ModuleType:
    """The AVX-512 module with its instructions emulated by AVX2, for machines without AVX-512."""
    assert "avx2" in supported(), "emulating AVX-512 takes a CPU with AVX2"
    # -O1 compiles in half the time, and speed does not matter here.
    flags = [*native_build.FLAGS, "-O1", "-Wno-psabi", "-DZG_EMULATE", *native_build.INSTRUCTION_SETS["avx2"]]
    name = "_native_emulated"
    module = compile_native(name, native_build.builder("avx512", name, flags))
    prepare(module)
    return module


def load_file(name: str, path: Path) -> ModuleType:
    """Import a file as a module of the given name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


REAL = ["baseline", "avx2", *(["avx512"] if "avx512" in supported() else [])]


@pytest.fixture(params=[*REAL, pytest.param(EMULATED, marks=pytest.mark.emulated)])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The native backend on each instruction set that this machine supports."""
    if request.param == EMULATED:
        module = request.getfixturevalue("emulated_avx512")
        monkeypatch.setattr(zigai_kernels.backend, "choose", lambda asked: asked)
        monkeypatch.setattr(zigai_kernels.backend, "load", lambda name: module)
    elif request.param not in supported():
        pytest.skip(f"this machine does not support {request.param}")
    yield NativeBackend(request.param)


def batch_of(
    tokens: Sequence[int],
    *,
    first: int = 0,
    sequences: Sequence[int] | None = None,
    index: Sequence[int] | None = None,
    wanted: Sequence[int] | None = None,
    tables: Sequence[Sequence[int]] | None = None,
    groups: Sequence[Sequence[Sequence[int]]] | None = None,
    ends: Sequence[int] | None = None,
    positions: Sequence[Sequence[int]] | None = None,
) -> Batch:
    """A batch; by default one sequence from index `first` on, with all rows wanted and pages in order.

    `tables` are those of the only group. `groups` has the tables of each of several groups.
    """
    count = len(tokens)
    index = range(first, first + count) if index is None else index
    if groups is None:
        groups = [tables or [range(max(index) + 1)]]
    return Batch(
        tokens=np.array(tokens, np.int32),
        sequences=np.array([0] * count if sequences is None else sequences, np.int32),
        index=np.array(index, np.int32),
        output_rows=np.array(range(count) if wanted is None else wanted, np.int32),
        groups=tuple(Pages([np.array(table, np.int32) for table in group]) for group in groups),
        positions=None if positions is None else np.array(positions, np.int32),
        ends=None if ends is None else np.array(ends, np.int32),
    )


def go() -> NDArray[np.int32]:
    """A stop cell that nobody sets."""
    return np.zeros(1, np.int32)


class Bench:
    """An executor with pages for some sequences of full length."""

    def __init__(self, program: Program, sequences: int = 1) -> None:
        context, page = program.options.context, program.options.page
        pages = max(-(-context // page) * sequences, min(context, 64))  # `batch_of` has a page for each index
        self.program = program
        self.groups = len(program.graph.groups)
        self.executor = program.new_executor([pages] * self.groups)

    def run(self, batch: Batch, stop: NDArray[np.int32] | None = None) -> Mapping[str, Array]:
        """Copies of the outputs of a step. All groups have the tables of the batch's, if it is one."""
        if len(batch.groups) == 1:
            batch = replace(batch, groups=batch.groups * self.groups)
        outputs = self.executor.run(batch, go() if stop is None else stop)
        return {name: outputs.rows(name).copy() for name in self.program.graph.outputs}


@dataclass
class Sketch:
    """Builds a graph whose inputs are given rows of numbers: row i is the embedding of token i."""

    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def tensor(self, name: str, values: NDArray[Any], dtype: str = "F32") -> Weight:
        """A weight with these values, stored as `dtype` (F32, F16 or BF16)."""
        data = store_floats(np.asarray(values, np.float32).reshape(-1), dtype)
        self.tensors[name] = TensorInfo(name, values.shape, DTYPES[dtype], data)
        return Weight(name, values.shape)

    def stored(self, name: str, tensor: TensorInfo) -> Weight:
        """A weight stored as an existing tensor."""
        self.tensors[name] = TensorInfo(name, tensor.shape, tensor.dtype, tensor.data)
        return Weight(name, tensor.shape)

    def random(
        self, name: str, shape: tuple[int, ...], dtype: str, seed: int = 0, std: float = 1.0
    ) -> Weight:
        """A weight of random values."""
        tensor = random_tensor(name, shape, dtype, np.random.RandomState(seed), std)
        return self.stored(name, tensor)

    def input(self, name: str, rows: NDArray[Any]) -> Value:
        """A value whose row for token i is `rows[i]`."""
        rows = np.asarray(rows, np.float32)
        value = Value(name, rows.shape[1])
        self.operations.append(Embedding(value, self.tensor(f"{name}.weight", rows)))
        return value

    def add(self, operation: Operation) -> Value:
        """Append an operation. Returns its output."""
        self.operations.append(operation)
        return operation.output

    def graph(self, **outputs: Value) -> Graph:
        """The graph with these outputs (by default the last value as `logits`), selected if necessary."""
        named: dict[str, Value] = {}
        for name, value in (outputs or {"logits": self.operations[-1].output}).items():
            if value.rows != WANTED:
                value = self.add(Select(Value(f"{value.name}.wanted", value.width, WANTED), value))
            named[name] = value
        return Graph(tuple(self.operations), named)

    def bench(self, backend: Backend, options: CompileOptions | None = None, sequences: int = 1) -> Bench:
        """An executor of the compiled graph. Call once."""
        return Bench(backend.compile(self.graph(), self.tensors, options or LIMITS), sequences)


LIMITS = CompileOptions(context=64, batch=40, page=1, threads=2, kv_dtype="F32")


@dataclass(frozen=True)
class Tools:
    """Helpers that the tests of this package share."""

    sketch: type[Sketch]
    bench: type[Bench]
    batch: Callable[..., Batch]
    go: Callable[[], NDArray[np.int32]]
    options: CompileOptions

    def attention(
        self,
        heads: int = 4,
        kv_heads: int = 2,
        key_dim: int = 8,
        value_dim: int | None = None,
        *,
        spread: float = 1.0,
        tokens: int = 40,
        **how: Any,
    ) -> Sketch:
        """A graph of one attention with random queries, keys and values: row i of each is token i's.

        `sinks` is a list of numbers; other keyword arguments are attributes of `Attention`.
        """
        random = np.random.RandomState(4)
        sketch = Sketch()
        value_dim = value_dim or key_dim
        widths = {"q": heads * key_dim, "k": kv_heads * key_dim, "v": kv_heads * value_dim}
        query, key, value = (
            sketch.input(name, spread * random.standard_normal((tokens, width)))
            for name, width in widths.items()
        )
        if how.get("sinks") is not None:
            how["sinks"] = sketch.tensor("sinks", np.asarray(how["sinks"], np.float32))
        kept = KVCache(kv_heads, key_dim, value_dim, how.get("window") or how.get("chunk"))
        sizes = {"heads": heads, "kv_heads": kv_heads, "key_dim": key_dim, "value_dim": value_dim}
        how = {"key": key, "value": value, "state": State("y", kept), "scale": key_dim**-0.5} | sizes | how
        sketch.add(Attention(Value("y", heads * value_dim), query, **how))
        return sketch

    def reference(self, sketch: Sketch, batch: Batch) -> Array:
        """The numpy reference's logits."""
        program = NumpyBackend().compile(sketch.graph(), sketch.tensors, self.options)
        return Bench(program, 4).run(batch)["logits"]

    def ask(self, prompt: Sequence[int], **fields: Any) -> Request:
        """A request for 24 greedy tokens."""
        return Request(
            list(prompt), **({"max_tokens": 24, "sampler": Sampler(SamplingOptions.greedy())} | fields)
        )

    def toy(self, *, threads: int = 2, context: int = 64, **how: Any) -> NativeProgram:
        """A program of a toy decoder, with pages of 8."""
        model = toy_decoder(**how)
        graph = decoder(model, context=context, pairing="adjacent")
        options = CompileOptions(context=context, batch=16, page=8, threads=threads)
        return NativeBackend().compile(graph, model.tensors, options)

    def busy(self, threads: int = 2) -> tuple[Bench, Batch]:
        """An executor and a batch whose step takes many seconds."""
        sketch = Sketch()
        x = sketch.input("x", np.ones((512, 2048)))
        weight = sketch.random("w", (2048, 2048), "Q8_0")
        for i in range(200):
            product = sketch.add(Linear(Value(f"y{i}", 2048), x, weight))
            x = sketch.add(Scale(Value(f"s{i}", 2048), product, 1e-3))
        options = CompileOptions(context=512, batch=512, page=64, threads=threads)
        return sketch.bench(NativeBackend(), options), batch_of([0] * 512, wanted=[0])

    @contextmanager
    def running(self, bench: Bench, batch: Batch, expected: Array) -> Iterator[None]:
        """Repeats a step in another thread during the block; its logits must always be the expected ones."""
        over, begun = threading.Event(), threading.Event()
        right: list[bool] = []

        def work() -> None:
            while not over.is_set():
                right.append(np.array_equal(bench.run(batch)["logits"], expected))
                begun.set()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert begun.wait(30)
            yield
        finally:
            over.set()
            thread.join()
        assert all(right)

    def compare(
        self,
        backend: Backend,
        sketch: Sketch,
        batch: Batch,
        *,
        atol: float = 1e-5,
        options: CompileOptions = LIMITS,
    ) -> Mapping[str, Array]:
        """The outputs of the native backend, after comparing them with the reference's."""
        graph = sketch.graph()
        expected, actual = (
            Bench(each.compile(graph, sketch.tensors, options), 4).run(batch)
            for each in (NumpyBackend(), backend)
        )
        for name, value in expected.items():
            np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=atol)
        return actual


@pytest.fixture
def tools() -> Tools:
    """The shared helpers."""
    return Tools(Sketch, Bench, batch_of, go, LIMITS)
