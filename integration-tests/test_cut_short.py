"""A model's file that is cut short while it is in use ends in an error that names it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zigai_core.testing.toys import toy_decoder
from zigai_gguf.convert import convert

USE = """
import os, sys
import zigai
from zigai_core.contracts.errors import FormatError

path, backend, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = zigai.load(path, backend=backend, context=64)
print(model.logits([1, 2, 3]).shape[-1])
os.truncate(path, size)
try:
    model.logits([5, 6, 500])
except FormatError as error:
    print(error)
print("alive")
"""
LOAD = """
import os, sys
import zigai
from zigai_core.api.loading import assemble
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import FormatError

path, backend, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
descriptor = zigai.read(path)
os.truncate(path, size)
try:
    assemble(descriptor, plugins=Plugins.installed(), backend=backend, context=64)
except FormatError as error:
    print(error)
print("alive")
"""

UNGUARDED = """
import faulthandler, mmap, os, sys
import numpy as np
from zigai_kernels.dispatch import load, supported

path, order = sys.argv[1], sys.argv[2]
libraries = [load(name).lib for name in supported()]
if order == "before":
    faulthandler.enable()
for _ in range(3):  # each handler over the others
    for library in libraries:
        library.zg_guard()
if order == "after":
    faulthandler.enable()
    libraries[0].zg_guard()
with open(path, "rb") as file:
    mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
os.truncate(path, 4096)
print("reading", flush=True)
mapped.sum()
"""


@pytest.mark.parametrize("order", ["before", "after", "without"])
def test_reading_outside_of_kernels_still_ends_the_process(tmp_path: Path, order: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 16))
    command = [sys.executable, "-c", UNGUARDED, str(path), order]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "reading\n")
    assert done.stderr.count("Fatal Python error: Bus error") == (order != "without")


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("dtype", ["F32", "Q8_0", "IQ2_XS"])
@pytest.mark.parametrize("script", [USE, LOAD], ids=["in use", "while loading"])
def test_a_file_that_is_cut_short_is_an_error(tmp_path: Path, backend: str, dtype: str, script: str) -> None:
    path = tmp_path / "model.gguf"
    convert(toy_decoder(dtype=dtype, width=256, hidden=256, vocabulary=1024), path)
    size = path.stat().st_size
    command = [sys.executable, "-c", script, str(path), backend, "8192"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"model.gguf: was cut short while in use: it had {size} bytes, and has 8192 now" in done.stdout
    assert done.stdout.endswith("alive\n")
