"""What pyproject.toml cannot say: the C modules, one for each instruction set of the machine."""

from __future__ import annotations

import platform

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildAtOnce(build_ext):
    """Compiles the modules side by side, each in a process of its own, as many at once as there are CPUs.

    A setting in `options` would not do: what setuptools builds for an editable installation loses it.
    """

    def initialize_options(self) -> None:
        """Set what holds unless the command line says otherwise."""
        super().initialize_options()
        self.parallel = True


x86 = platform.machine().lower() in ("x86_64", "amd64")
setup(
    cmdclass={"build_ext": BuildAtOnce},
    cffi_modules=[
        f"native/build.py:{name}" for name in (("baseline", "avx2", "avx512") if x86 else ("baseline",))
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
