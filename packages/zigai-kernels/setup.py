"""What pyproject.toml cannot say: the C modules, one for each instruction set of the machine."""

from __future__ import annotations

import platform

from setuptools import setup

x86 = platform.machine().lower() in ("x86_64", "amd64")
setup(
    cffi_modules=[
        f"native/build.py:{name}" for name in (("baseline", "avx2", "avx512") if x86 else ("baseline",))
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
