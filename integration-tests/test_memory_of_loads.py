"""Memory of a process that loads models repeatedly, damaged ones too, does not grow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOADS = """
import random
import sys
from pathlib import Path

import zigai
from zigai_core.testing.toys import toy_decoder

sys.path.insert(0, sys.argv[1])
from toy_model import write_toy

path = Path(sys.argv[2])
write_toy(path, toy_decoder("llama", "F32", width=64, layers=1, context=64))
whole = path.read_bytes()
chance = random.Random(0)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def maps():
    return len(Path("/proc/self/maps").read_text().splitlines())


def damaged(number):
    data = bytearray(whole)
    kind = number % 4
    if kind == 0:
        for _ in range(3):
            data[chance.randrange(4000)] = chance.randrange(256)
    elif kind == 1:
        del data[chance.randrange(len(data)) :]
    elif kind == 2:
        at = chance.randrange(4000)
        data[at : at + 8] = b"\\xff" * 8
    return data


def load(number):
    path.write_bytes(damaged(number))
    try:
        model = zigai.load(path, backend=("native", "numpy")[number // 4 % 2], threads=2, context=32)
        model.logits([1, 2, 3])
        return 1
    except zigai.ZigAIError:
        return 0


for number in range(100):
    load(number)
before = resident(), maps()
loaded = sum(load(number) for number in range(300))
print(loaded, resident() - before[0], maps() - before[1])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_loading_whole_and_damaged_models_leaks_no_memory(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADS, str(Path(__file__).parent), str(tmp_path / "toy.gguf")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    loaded, megabytes, maps = map(float, run.stdout.split())
    assert 75 <= loaded < 300
    assert megabytes < 6
    assert maps < 20
