"""The C modules, one for each instruction set of the machine; everything else is in pyproject.toml."""

from __future__ import annotations

import platform

from setuptools import setup
from setuptools.command.build_ext import build_ext


class ParallelBuild(build_ext):
    """Compiles the modules in parallel, up to one per CPU.

    Not a setting in `options`, because setuptools drops it when it builds an editable installation.
    """

    def initialize_options(self) -> None:
        """Set the defaults, which command-line options override."""
        super().initialize_options()
        self.parallel = True


x86 = platform.machine().lower() in ("x86_64", "amd64")
setup(
    cmdclass={"build_ext": ParallelBuild},
    cffi_modules=[
        f"native/build.py:{name}" for name in (("baseline", "avx2", "avx512") if x86 else ("baseline",))
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
