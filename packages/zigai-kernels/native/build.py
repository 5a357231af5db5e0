"""Builds the native modules with cffi: one source, compiled once for each instruction set."""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
# No contraction: a multiply-add is fused where the source says so, on every compiler, and nowhere else.
# -g0 undoes the -g of the interpreter's own flags: the code is the same, in two thirds of the time.
FLAGS = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-Wall", "-Wextra", "-pthread"]
# For compiler and linker, after all others (of two -O the last holds): how `nox -s sanitize` gets its checks.
MORE_FLAGS = os.environ.get("ZIGAI_MORE_FLAGS", "").split()
INSTRUCTION_SETS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": [
        *("-mavx2", "-mfma", "-mf16c"),
        *("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"),
    ],
}
SUPPORTS = """
int zg_supports(int level) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init(); /* what it tells includes whether the system saves the registers */
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
            && __builtin_cpu_supports("f16c");
    if (level == 1) return avx2;
    if (level == 2)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vnni");
#endif
    return level == 0;
}
"""


def builder(name: str, module: str | None = None, flags: list[str] | None = None) -> FFI:
    """The cffi module of one instruction set; the baseline's also tells what the CPU supports.

    Tests build variants of it, under another `module` name and with other `flags`.
    """
    ffi = FFI()
    ffi.cdef((HERE / "api.h").read_text(encoding="utf-8"))
    ffi.cdef('extern "Python" int zg_interrupted(void *);')
    source = f'#define ZG_SIMD "simd_{name}.h"\n#include "native.c"\n'
    if name == "baseline":
        ffi.cdef("int zg_supports(int level);")
        source += SUPPORTS
    ffi.set_source(
        module or f"zigai_kernels._native_{name}",
        source,
        include_dirs=[str(HERE)],
        depends=[str(path) for path in sorted(HERE.iterdir()) if path.is_file()],
        extra_compile_args=[*([*FLAGS, *INSTRUCTION_SETS[name]] if flags is None else flags), *MORE_FLAGS],
        extra_link_args=["-pthread", *MORE_FLAGS],
        libraries=["m"],
    )
    return ffi


def baseline() -> FFI:
    """For `cffi_modules`."""
    return builder("baseline")


def avx2() -> FFI:
    """For `cffi_modules`."""
    return builder("avx2")


def avx512() -> FFI:
    """For `cffi_modules`."""
    return builder("avx512")
