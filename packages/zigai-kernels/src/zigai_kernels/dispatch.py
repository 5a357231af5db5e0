"""Choice of the instruction set and of the number of threads."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType, TracebackType

from zigai_core.contracts.dtypes.codebooks import code_book, signs
from zigai_core.contracts.errors import UnsupportedError

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
"""From the slowest to the fastest, each a module `_native_<name>`. Only x86-64 has more than `baseline`."""

MOST_THREADS = 1024


def supported() -> list[str]:
    """The instruction sets that are built and that the CPU and the operating system support, slowest first.

    `UnsupportedError` if not even `baseline` is built.
    """
    baseline = _module("baseline")
    if baseline is None:
        raise UnsupportedError(
            "the native backend's C modules are not built: reinstall zigai-kernels, or use backend='numpy'"
        )
    found = ["baseline"]
    for level, name in enumerate(INSTRUCTION_SETS[1:], start=1):
        if baseline.lib.zg_supports(level) and _module(name) is not None:
            found.append(name)
    return found


def choose(asked: str | None = None) -> str:
    """The instruction set to use: `asked`, else `ZIGAI_CPU`, else the fastest that is supported.

    `UnsupportedError` for an instruction set that is unknown, not built, or not supported by the CPU.
    """
    offered = supported()
    where = "instruction_set"
    if asked is None:
        asked, where = os.environ.get("ZIGAI_CPU") or None, "ZIGAI_CPU"
    if asked is None:
        return offered[-1]
    if asked not in INSTRUCTION_SETS:
        raise UnsupportedError(f"{where}={asked}: not one of {', '.join(INSTRUCTION_SETS)}")
    if asked not in offered:
        why = "is not built" if _module(asked) is None else "is not supported by this CPU"
        raise UnsupportedError(f"{where}={asked} {why}; this machine runs {', '.join(offered)}")
    return asked


def load(name: str) -> ModuleType:
    """The compiled module of an instruction set. `UnsupportedError` if it is not built."""
    module = _module(name)
    if module is None:
        raise UnsupportedError(f"zigai-kernels was built without {name}")
    prepare(module)
    return module


def thread_count(asked: int | None = None) -> int:
    """The number of threads: `asked`, else `ZIGAI_NUM_THREADS`, else `usable_cores()`.

    `UnsupportedError` for anything but a whole number from 1 to `MOST_THREADS`.
    """
    where: str = "threads"
    value: int | str | None = asked
    if value is None:
        value, where = os.environ.get("ZIGAI_NUM_THREADS") or None, "ZIGAI_NUM_THREADS"
    if value is None:
        return usable_cores()
    try:
        threads = int(value)
    except ValueError:
        threads = 0
    if not 1 <= threads <= MOST_THREADS:
        raise UnsupportedError(f"{where}={value}: must be a whole number from 1 to {MOST_THREADS}")
    return threads


def usable_cores(system: Path = Path("/sys")) -> int:
    """Physical cores of the process's CPU affinity, or its control group's quota if that is less."""
    try:
        cpus: Sequence[int] = sorted(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no sched_getaffinity
        cpus = range(os.cpu_count() or 1)
    cores = {_siblings(system, cpu) for cpu in cpus}
    quota = _cgroup_quota(system / "fs/cgroup")
    return max(1, min(len(cores), len(cores) if quota is None else quota))


def _siblings(system: Path, cpu: int) -> str:
    try:
        return (system / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _cgroup_quota(root: Path) -> int | None:
    """The CPU quota of the control group (version 2, then 1), rounded down, at least 1; None for no quota."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        granted = int(quota) // int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return max(1, granted) if int(quota) > 0 else None


@cache
def prepare(module: ModuleType) -> None:
    """Connects a native module with Python: signals that interrupt a step, and the tables of coded.c."""
    _serve_signals(module)
    _give_code_books(module)


def _serve_signals(module: ModuleType) -> None:
    """Define the module's `zg_interrupted`, which C calls now and then during a step.

    Calling it lets Python run pending signal handlers. An exception of a handler (Ctrl-C) is appended to the
    list whose handle is the argument, and ends the step.
    """

    def interrupted(handle: object) -> int:
        return 0

    def keep(kind: type[BaseException], raised: BaseException, trace: TracebackType) -> int:
        module.ffi.from_handle(trace.tb_frame.f_locals["handle"]).append(raised)
        return 1

    module.ffi.def_extern("zg_interrupted", error=1, onerror=keep)(interrupted)


def _give_code_books(module: ModuleType) -> None:
    """Hands the module the tables of zigai_core that coded.c reads."""
    ffi = module.ffi
    names = ("IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")
    tables = {name.lower(): code_book(name) for name in names} | {"signs": signs()}
    # The tables are cached for the life of the process, so their memory stays where it is.
    addresses = {name: ffi.cast("int8_t *", table.ctypes.data) for name, table in tables.items()}
    module.lib.zg_use_codebooks(ffi.new("zg_codebooks *", addresses))


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"zigai_kernels._native_{name}")
    except ImportError:
        return None
