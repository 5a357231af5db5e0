"""Contexts in forked processes and in processes that end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.plugins import Context, Program


def in_the_child(
    idle: list[Context], running: Context, program: Program, batch: Any, expected: Any, answers: Any
) -> None:
    for context in (idle[0], running):
        try:
            context.run(batch)
            answers.put("ran")
        except ZigAIError as error:
            answers.put(str(error))
    answers.put(bool(np.array_equal(program.new_context().run(batch)["logits"], expected)))
    old = weakref.ref(idle[0])
    del context
    idle.clear()
    gc.collect()
    answers.put(old() is None)


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_old_contexts_raise_and_new_ones_work(tools: Any) -> None:
    program = tools.toy()
    batch = tools.batch(range(16), tables=[[0, 1]])
    idle, running = [program.new_context()], program.new_context()
    expected = running.run(batch)["logits"]
    process_of = multiprocessing.get_context("fork")
    answers = process_of.Queue()
    with tools.running(running, batch, expected):
        arguments = (idle, running, program, batch, expected, answers)
        child = process_of.Process(target=in_the_child, args=arguments)
        child.start()
        for _ in range(2):
            assert "make a new one with program.new_context()" in answers.get(timeout=30)
        assert answers.get(timeout=30) is True  # the new context's result
        assert answers.get(timeout=30) is True  # the old context is gone
        child.join(timeout=30)
        assert child.exitcode == 0
    np.testing.assert_array_equal(idle[0].run(batch)["logits"], expected)


ENDING = """
import os, sys, threading
import numpy as np
from zigai_core.contracts.batch import Batch
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_core.contracts.options import CompileOptions
from zigai_kernels import NativeBackend

model = toy_decoder()
graph = decoder(model, context=64, pairing="half")
program = NativeBackend().compile(graph, model.tensors, CompileOptions(threads=2))
row = np.zeros(1, np.int32)
batch = Batch(tokens=row, positions=row, sequences=row, wanted=row, page_tables=[row])
context, running = program.new_context(), program.new_context()
context.run(batch)

begun = threading.Event()

def work():
    while True:
        running.run(batch)
        begun.set()

threading.Thread(target=work, daemon=True).start()
begun.wait()
child = os.fork()
if not child:
    program.new_context().run(batch)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
context.run(batch)
"""


@forks
def test_a_process_and_its_fork_end_cleanly_with_running_contexts() -> None:
    python = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", ENDING]
    done = subprocess.run(python, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
