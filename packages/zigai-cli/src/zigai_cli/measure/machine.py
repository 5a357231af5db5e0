"""The machine: CPU, cores and memory, as the operating system reports them."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path

VECTORS = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
"""Vector instruction sets that matter to matrix products, by Linux's names, x86-64 and ARM."""


def cpu() -> str:
    """The CPU's name."""
    name = _cpuinfo().get("model name", "")
    if not name and sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string")
    return name or platform.processor() or platform.machine() or "unknown"


def instruction_sets() -> list[str]:
    """The vector instruction sets of the CPU, of those in `VECTORS`; empty where they cannot be read."""
    found = _cpuinfo()
    flags = (found.get("flags") or found.get("Features") or "").split()
    return [name for name in VECTORS if name in flags]


def logical_cores() -> int:
    """Logical CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> tuple[int | None, int | None]:
    """Bytes of memory: in all, and free for a new program; None where it cannot be read.

    A control group's limit counts as the memory in all. Sources: proc(5), and
    https://docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    total = free = None
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        sizes = {line.partition(":")[0]: line.split()[1] for line in lines if ":" in line}
        total, free = 1024 * int(sizes["MemTotal"]), 1024 * int(sizes["MemAvailable"])
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: there is no limit
            limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
            used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
            total, free = min(total, limit), min(free, max(0, limit - used))
    if total is None and sys.platform == "darwin":
        with contextlib.suppress(ValueError):
            total = int(_sysctl("hw.memsize"))
    return total, free


def _cpuinfo() -> dict[str, str]:
    """The fields of the first CPU in /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
