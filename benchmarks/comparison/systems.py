"""The systems that are compared: how each does a job, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison.work import Job

PEER = Path(__file__).resolve().parents[1] / "peer.py"


@dataclass(frozen=True)
class System:
    """A program that prints the JSON of `zig-ai bench`."""

    name: str
    command: tuple[str, ...]
    extra: tuple[str, ...] = ()

    def run(self, model: Path, job: Job, threads: int) -> dict[str, Any]:
        """The figures of one process. `RuntimeError` with its last line where it fails."""
        options = [str(model), *job.options, "--threads", str(threads), *self.extra]
        done = subprocess.run([*self.command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise RuntimeError(f"{self.name}: {said[-1]}")
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures


def ours() -> System:
    """ZigAI, of the environment that this process runs in."""
    return System("ZigAI", (sys.executable, "-m", "zigai_cli", "bench"), ("--json",))


def peers(python: str) -> Sequence[System]:
    """llama.cpp in another environment, with its weights repacked for the CPU and without.

    `SystemExit` where that python cannot import llama_cpp.
    """
    trial = [python, "-c", "import llama_cpp; print(llama_cpp.__version__)"]
    try:
        done = subprocess.run(trial, capture_output=True, text=True, check=False)
        wrong = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except OSError as error:
        wrong = [str(error)]
    if wrong:
        raise SystemExit(
            f"{python} has no llama.cpp ({wrong[0]}). Make an environment for it: python -m venv peer && "
            'CMAKE_ARGS="-DGGML_NATIVE=ON" peer/bin/pip install llama-cpp-python numpy'
        )
    command = (python, str(PEER), "time")
    return [System("repacked", command), System("as stored", command, ("--no-repack",))]
