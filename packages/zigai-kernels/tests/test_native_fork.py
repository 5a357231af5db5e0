"""Executors and engines in forked processes and in processes that end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.plugins import Program
from zigai_core.engine.engine import Engine


def in_the_child(
    tools: Any, idle: list[Any], running: Any, program: Program, batch: Any, expected: Any, answers: Any
) -> None:
    for bench in (idle[0], running):
        calls: dict[str, Any] = {"run": lambda at: at.run(batch), "copy": lambda at: at.executor.copy(0, [])}
        for call in calls.values():
            try:
                call(bench)
                answers.put("ran")
            except ZigAIError as error:
                answers.put(str(error))
    answers.put(bool(np.array_equal(tools.bench(program).run(batch)["logits"], expected)))
    old = weakref.ref(idle[0].executor)
    del bench
    idle.clear()
    gc.collect()
    answers.put(old() is None)


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_old_executors_raise_and_new_ones_work(tools: Any) -> None:
    program = tools.toy()
    batch = tools.batch(range(16), tables=[[0, 1]])
    idle, running = [tools.bench(program)], tools.bench(program)
    expected = running.run(batch)["logits"]
    process_of = multiprocessing.get_context("fork")
    answers = process_of.Queue()
    with tools.running(running, batch, expected):
        arguments = (tools, idle, running, program, batch, expected, answers)
        child = process_of.Process(target=in_the_child, args=arguments)
        child.start()
        for _ in range(4):
            assert "make a new one with program.new_executor()" in answers.get(timeout=30)
        assert answers.get(timeout=30) is True  # the new executor's result
        assert answers.get(timeout=30) is True  # the old executor is gone
        child.join(timeout=30)
        assert child.exitcode == 0
    np.testing.assert_array_equal(idle[0].run(batch)["logits"], expected)


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("background", [False, True])
def test_an_engine_goes_on_after_a_fork_and_begins_afresh_in_the_child(tools: Any, background: bool) -> None:
    engine = Engine(tools.toy(context=256))
    expected = engine.submit(tools.ask(range(20))).result().tokens
    over, begun, wrong = threading.Event(), threading.Event(), list[Any]()

    def work() -> None:  # the fork comes inside one of its steps
        while not over.is_set():
            tokens = engine.submit(tools.ask(range(20), cache=False)).result().tokens
            if tokens != expected:
                wrong.append(tokens)
            begun.set()

    if background:
        engine.start()
    stream = engine.submit(tools.ask(range(20), max_tokens=99))  # waits for its reader after 64 tokens
    next(stream)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert begun.wait(30)
        child = os.fork()
        if not child:
            try:
                signal.alarm(60)
                with pytest.raises(ZigAIError, match="forked"):
                    next(stream)
                if background:
                    engine.start()
                assert engine.submit(tools.ask(range(20))).result().tokens == expected
                engine.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        over.set()
        thread.join(30)
    assert not thread.is_alive() and not wrong
    assert stream.result().tokens[:24] == expected and len(stream.tokens) == 99
    engine.close()


ENGINES = """
import sys, threading
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request
from zigai_core.engine.sampling import Sampler
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend

model = toy_decoder()
graph = decoder(model, context=4096, pairing="half")
options = CompileOptions(context=4096, threads=2)
engine = Engine(NativeBackend().compile(graph, model.tensors, options))
streams = [engine.submit(Request([1], sampler=Sampler(SamplingOptions.greedy()))) for _ in range(3)]
if sys.argv[1] == "background":
    engine.start()
for stream in streams:
    next(stream)
if sys.argv[1] != "nobody":
    threading.Thread(target=streams[0].result, daemon=True).start()
    for _ in range(20):
        next(streams[1])
"""


@pytest.mark.parametrize("driver", ["nobody", "a daemon thread", "background"])
def test_the_interpreter_ends_with_streams_open(driver: str) -> None:
    python = [sys.executable, "-c", ENGINES, driver]
    done = subprocess.run(python, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


ENDING = """
import os, sys, threading
import numpy as np
from zigai_core.contracts.batch import Batch, Pages
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_core.contracts.options import CompileOptions
from zigai_kernels import NativeBackend

model = toy_decoder()
graph = decoder(model, context=64, pairing="half")
program = NativeBackend().compile(graph, model.tensors, CompileOptions(threads=2))
row = np.zeros(1, np.int32)
batch = Batch(tokens=row, sequences=row, index=row, output_rows=row, groups=(Pages([row]),))
executor, running = program.new_executor([4]), program.new_executor([4])
executor.run(batch, row)

begun = threading.Event()

def work():
    while True:
        running.run(batch, row)
        begun.set()

threading.Thread(target=work, daemon=True).start()
begun.wait()
child = os.fork()
if not child:
    program.new_executor([4]).run(batch, row)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
executor.run(batch, row)
"""


@forks
def test_a_process_and_its_fork_end_cleanly_with_running_executors() -> None:
    python = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", ENDING]
    done = subprocess.run(python, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
