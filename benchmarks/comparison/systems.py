"""The systems that are compared. Each runs a job in a process of its own."""

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
        """Run a job and return its figures. Raises `RuntimeError`, with its last line, if it fails."""
        options = [str(model), *job.options, "--threads", str(threads), *self.extra]
        done = subprocess.run([*self.command, *options], capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise RuntimeError(f"{self.name}: {lines[-1]}")
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures


def ours() -> System:
    """ZigAI, from the environment of this process."""
    return System("ZigAI", (sys.executable, "-m", "zigai_cli", "bench"), ("--json",))


def peers(python: str) -> Sequence[System]:
    """llama.cpp in another environment, with its weights repacked for the CPU and as stored.

    `python` is that environment's. Raises `SystemExit` if it cannot import llama_cpp.
    """
    trial = [python, "-c", "import llama_cpp; print(llama_cpp.__version__)"]
    try:
        done = subprocess.run(trial, capture_output=True, text=True, check=False)
        problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except OSError as error:
        problem = [str(error)]
    if problem:
        raise SystemExit(
            f"{python} has no llama.cpp ({problem[0]}). Make an environment for it: python -m venv peer && "
            'CMAKE_ARGS="-DGGML_NATIVE=ON" peer/bin/pip install llama-cpp-python numpy'
        )
    command = (python, str(PEER), "time")
    return [System("repacked", command), System("as stored", command, ("--no-repack",))]
