"""Executors in several threads: each step gives the same numbers as alone, with one pool of threads."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch, Pages
from zigai_core.contracts.errors import Cancelled, UnsupportedError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Program
from zigai_core.engine.engine import Engine
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend


def in_parallel(count: int, work: Any) -> None:
    """Call `work(i)` in a thread for each i."""
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_executors_in_parallel_threads_compute_the_same_as_alone(tools: Any) -> None:
    program = tools.toy()
    batches = [
        tools.batch(list(np.random.RandomState(i).randint(0, 512, 16)), tables=[[0, 1]]) for i in range(4)
    ]
    expected = [tools.bench(program).run(batch)["logits"] for batch in batches]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):  # each executor is freed while the others run
            bench = tools.bench(program)
            for _ in range(10):
                if not np.array_equal(bench.run(batches[i])["logits"], expected[i]):
                    wrong.append(i)

    in_parallel(4, work)
    assert not wrong


def test_threads_that_use_one_executor_take_turns(tools: Any) -> None:
    bench, batch = tools.bench(tools.toy()), tools.batch(range(16), tables=[[0, 1]])
    expected = bench.run(batch)["logits"]
    done: list[int] = []

    def work(i: int) -> None:
        for _ in range(50):
            bench.executor.run(batch, tools.go())
            bench.executor.copy(0, [(0, 2), (1, 3)])
            done.append(i)

    in_parallel(3, work)
    assert len(done) == 150
    np.testing.assert_array_equal(bench.run(batch)["logits"], expected)


def generate(program: Program) -> Array:
    """The logits of 24 steps of greedy decoding."""
    executor, stop = program.new_executor([8]), np.zeros(1, np.int32)
    pages = (Pages([np.arange(8, dtype=np.int32)]),)
    tokens, logits = list(range(16)), []
    for step in range(24):
        new = tokens if step == 0 else tokens[-1:]
        index = np.arange(len(tokens) - len(new), len(tokens), dtype=np.int32)
        last = np.array([len(new) - 1], np.int32)
        batch = Batch(np.array(new, np.int32), np.zeros_like(index), index, last, pages)
        logits.append(executor.run(batch, stop).rows("logits")[0].copy())
        tokens.append(int(logits[-1].argmax()))
    return np.stack(logits)


def test_two_models_that_generate_in_parallel_compute_the_same_as_alone(tools: Any) -> None:
    programs = [
        tools.toy(dtype="Q8_0", heads=8, seed=1, threads=3),
        tools.toy(dtype="F16", layers=3, vocabulary=300, seed=2, threads=2),
        tools.toy(dtype="Q8_0", seed=3, threads=1),
    ]
    alone = [generate(program) for program in programs]
    together: dict[int, list[Array]] = {i: [] for i in range(len(programs))}
    start = threading.Barrier(len(programs))

    def work(i: int) -> None:
        start.wait()
        for _ in range(3):
            together[i].append(generate(programs[i]))

    in_parallel(len(programs), work)
    for i, results in together.items():
        assert [np.array_equal(logits, alone[i]) for logits in results] == [True] * 3


def test_executors_can_be_created_and_freed_while_another_runs(tools: Any) -> None:
    program, batch = tools.toy(), tools.batch(range(16), tables=[[0, 1]])
    bench = tools.bench(program)
    expected = bench.run(batch)["logits"]
    with tools.running(bench, batch, expected):
        for i in range(30):
            other = tools.bench(program, 1 + i % 3)
            if i % 2:  # the others are freed without a run
                np.testing.assert_array_equal(other.run(batch)["logits"], expected)


def test_programs_can_be_freed_while_another_runs(tools: Any) -> None:
    batch = tools.batch(range(16), tables=[[0, 1]])
    bench = tools.bench(tools.toy())
    expected = bench.run(batch)["logits"]
    with tools.running(bench, batch, expected):
        for seed in range(10):
            executor = tools.toy(dtype="Q8_0", seed=seed).new_executor([8])
            executor.run(batch, tools.go())
            gone = weakref.ref(executor._plan)
            gc.collect()
            assert gone() is not None  # the executor refers to the plan and its weights
            executor.run(batch, tools.go())
            del executor
            gc.collect()
            assert gone() is None


def test_more_threads_than_cores_compute_the_same(tools: Any) -> None:
    batch = tools.batch(range(16), tables=[[0, 1]])
    one = tools.bench(tools.toy(threads=1)).run(batch)["logits"]
    many = tools.bench(tools.toy(threads=16))
    for _ in range(5):
        np.testing.assert_array_equal(many.run(batch)["logits"], one)


@pytest.mark.parametrize("tokens", [128, 129, 300, 400])
@pytest.mark.parametrize("dtype", ["F32", "Q8_0"])
def test_threads_that_come_from_both_ends_of_many_rows_compute_the_same(
    tokens: int, dtype: str, tools: Any
) -> None:
    model = toy_decoder(dtype=dtype, bias=True)
    graph = decoder(model, context=400, pairing="half")
    batch, results = tools.batch([i % 500 for i in range(tokens)]), []
    for threads in (1, 2, 3, 16):
        options = CompileOptions(context=400, batch=400, page=1, threads=threads)
        bench = tools.bench(NativeBackend().compile(graph, model.tensors, options), sequences=2)
        results += [bench.run(batch)["logits"] for _ in range(3)]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_more_chunks_than_a_ticket_counts_are_all_computed(tools: Any) -> None:
    heads, tokens = 65, 520  # a chunk for each head of each sequence: 33,800; a ticket counts 32,767
    options = CompileOptions(context=1, batch=tokens, page=1, threads=2, kv_dtype="F32")
    each = range(tokens)
    sketch = tools.attention(heads, heads, 2, tokens=tokens)
    program = NativeBackend().compile(sketch.graph(), sketch.tensors, options)
    batch = tools.batch(each, sequences=each, index=[0] * tokens, tables=[[i] for i in each])
    found = program.new_executor([tokens]).run(batch, tools.go()).rows("logits")
    values = np.frombuffer(sketch.tensors["v.weight"].data, np.float32).reshape(tokens, 2 * heads)
    np.testing.assert_allclose(found, values, rtol=1e-6)  # a token that sees itself alone gets its value


def test_a_program_loaded_in_a_thread_that_ends_runs_in_others(tools: Any) -> None:
    benches: list[Any] = []
    batch = tools.batch(range(16), tables=[[0, 1]])

    def load(_: int) -> None:
        benches.append(tools.bench(tools.toy(threads=3)))
        benches[0].run(batch)

    in_parallel(1, load)
    np.testing.assert_array_equal(
        benches[0].run(batch)["logits"], tools.bench(tools.toy(threads=3)).run(batch)["logits"]
    )


@pytest.mark.parametrize("background", [False, True])
def test_a_reply_begun_in_a_thread_that_ends_goes_on_in_another(tools: Any, background: bool) -> None:
    made: list[Any] = []

    def begin(_: int) -> None:
        engine = Engine(tools.toy(threads=3))
        if background:
            engine.start()
        made.extend((engine, engine.submit(tools.ask(range(20)))))
        next(made[1])

    in_parallel(1, begin)
    engine, stream = made
    with engine, Engine(tools.toy(threads=3)) as other:
        assert stream.result().tokens == other.submit(tools.ask(range(20))).result().tokens
        assert engine.submit(tools.ask([7, 8])).result().tokens


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no signals to threads")
def test_executors_and_programs_may_be_collected_inside_a_step(tools: Any) -> None:
    bench, batch = tools.busy()
    stop, small, gone = tools.go(), tools.batch(range(16), tables=[[0, 1]]), list[Any]()
    expected = tools.bench(tools.toy()).run(small)["logits"]

    def litter() -> None:
        with_program = tools.bench(tools.toy(dtype="Q8_0"))
        with_program.run(small)
        with_program.itself = with_program  # only the collector frees it
        engine = Engine(tools.toy())
        stream = engine.submit(tools.ask(range(20)))
        next(stream)
        stream.itself = engine.itself = engine
        gone.extend(map(weakref.ref, (with_program.executor, engine, stream)))

    gc.disable()
    before = signal.getsignal(signal.SIGUSR1)
    try:
        litter()
        inside: list[bool] = []

        def collect(*_: object) -> None:
            gc.collect()
            inside.append(not any(each() for each in gone))
            stop[0] = 1

        signal.signal(signal.SIGUSR1, collect)
        main = threading.main_thread().ident
        threading.Timer(0.2, signal.pthread_kill, [main, signal.SIGUSR1]).start()
        with pytest.raises(Cancelled):
            bench.run(batch, stop)
    finally:
        signal.signal(signal.SIGUSR1, before)
        gc.enable()
    assert inside == [True]
    np.testing.assert_array_equal(tools.bench(tools.toy()).run(small)["logits"], expected)


TASKS = Path("/proc/self/task")
COUNTING = """
import gc, time
from pathlib import Path
import numpy as np
from zigai_core.contracts.batch import Batch, Pages
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend

def count():
    return len(list(Path("/proc/self/task").iterdir()))

model = toy_decoder(layers=1)
graph = decoder(model, context=64, pairing="half")
row = np.zeros(1, np.int32)
batch = Batch(row, row, row, row, (Pages([row]),))
programs = {
    threads: NativeBackend().compile(graph, model.tensors, CompileOptions(context=64, threads=threads))
    for threads in (1, 2, 4, 3)
}
time.sleep(0.3)  # until the system no longer lists threads that have packed weights
before = count()
found = []
for threads, program in programs.items():
    executors = [program.new_executor([1]) for _ in range(20)]
    for executor in executors:
        executor.run(batch, row)
    found.append(count() - before)
    del executors, executor
    gc.collect()
print(found, count() - before)
"""


@pytest.mark.skipif(not TASKS.is_dir(), reason="counting threads takes /proc")
def test_all_executors_of_a_process_share_one_set_of_threads() -> None:
    python = [sys.executable, "-c", COUNTING]
    done = subprocess.run(python, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("[0, 1, 3, 3] 3\n", "")


def test_threads_that_the_system_refuses_are_an_error(tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tools.toy()
    executor, batch = program.new_executor([8]), tools.batch([5], tables=[[0]])

    class Refusing:
        lib = type("lib", (), {"zg_pool_grow": lambda *_: 0})

    monkeypatch.setattr(executor._pool, "_module", Refusing)
    with pytest.raises(UnsupportedError, match="the system refuses 2 threads"):
        program.new_executor([8])
    assert executor.run(batch, tools.go()).rows("logits").shape == (1, 512)


EXITING = """
import threading, time
import numpy as np
from zigai_core.contracts.batch import Batch
from zigai_core.contracts.graph import Graph, Value, Weight
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.operations import Embedding, Linear, Select
from zigai_core.testing.toys import random_tensor
from zigai_kernels import NativeBackend

tensors = {name: random_tensor(name, (2048, 2048), "Q8_0", np.random.RandomState(0), 0.01) for name in "ew"}
values = [Value(f"x{i}", 2048) for i in range(200)]
layers = [Linear(y, x, Weight("w", (2048, 2048))) for x, y in zip(values, values[1:])]
last = Select(Value("out", 2048, "wanted"), values[-1])
graph = Graph((Embedding(values[0], Weight("e", (2048, 2048))), *layers, last), {"logits": last.output})
program = NativeBackend().compile(graph, tensors, CompileOptions(threads=2, batch=512))
executor = program.new_executor([])
rows = np.arange(512, dtype=np.int32)
batch = Batch(rows, np.zeros_like(rows), rows, rows[:1])
threading.Thread(target=executor.run, args=(batch, np.zeros(1, np.int32)), daemon=True).start()
time.sleep(0.3)
"""


def test_a_process_ends_at_once_while_a_daemon_thread_is_inside_a_long_step() -> None:
    python = [sys.executable, "-c", EXITING]
    began = time.monotonic()
    done = subprocess.run(python, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 20  # the step takes many seconds
