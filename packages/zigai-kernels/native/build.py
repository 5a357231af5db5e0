"""cffi builders of the native modules: one source, compiled once for each instruction set."""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
# No contraction: every compiler fuses multiply and add exactly where the source does.
# -g0 overrides the -g of the interpreter's flags: the same code compiles in two thirds of the time.
FLAGS = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-Wall", "-Wextra", "-pthread"]
# Flags for compiler and linker, after all others (the last -O counts); `nox -s sanitize` sets them.
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
    __builtin_cpu_init(); /* it also checks that the operating system saves the registers */
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
    """The cffi builder of one instruction set's module; the baseline module also has `zg_supports`.

    Tests build variants under another `module` name and with other `flags`.
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
    """The builder of `_native_baseline`, named in setup.py."""
    return builder("baseline")


def avx2() -> FFI:
    """The builder of `_native_avx2`, named in setup.py."""
    return builder("avx2")


def avx512() -> FFI:
    """The builder of `_native_avx512`, named in setup.py."""
    return builder("avx512")
