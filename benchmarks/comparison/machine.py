"""Describes the machine that measurements run on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """CPU, cores, system and installed versions."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "zigai": version("zigai-core"),
        "commit": commit(),
    }


def cpu() -> str:
    """The CPU's name, with its vector instruction sets on Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    flags = named.get("flags", "").split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16") if flag in flags]
    name = named.get("model name", platform.machine())
    return f"{name} ({', '.join(known)})" if known else name


def commit() -> str | None:
    """The commit that is checked out, with `+` if files differ from it; None outside a checkout."""
    outputs = []
    for arguments in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain"]):
        git = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            outputs.append(subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip())
        except (OSError, subprocess.CalledProcessError):
            return None
    return outputs[0] + ("+" if outputs[1] else "")
