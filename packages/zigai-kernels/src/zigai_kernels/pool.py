"""The pool of threads that all executors of a process share."""

from __future__ import annotations

import os
import threading
from types import ModuleType
from typing import Any

from zigai_core.contracts.errors import UnsupportedError, ZigAIError


class Pool:
    """The helper threads of a C module in this process; they last as long as the process.

    Steps take turns: a step holds `turn`, and sets `inside` so that a signal handler that interrupts it, in
    the same thread, can be told from a thread whose turn it is.
    """

    def __init__(self, module: ModuleType) -> None:
        self.native: Any = module.lib.zg_pool_new()
        if self.native == module.ffi.NULL:
            raise UnsupportedError("no memory for a pool of threads")
        self.turn = threading.RLock()
        self.inside = False
        self._module = module

    def check_outside(self) -> None:
        """`ZigAIError` if the thread, which has its `turn`, is inside a step already."""
        if self.inside:
            raise ZigAIError(
                "this thread is inside a step, which a signal handler has interrupted; the handler cannot "
                "use an executor"
            )

    def grow(self, threads: int) -> None:
        """Make sure that steps can have this number of threads, the caller's included.

        `UnsupportedError` if the system refuses to create one.
        """
        with _growing:
            if not self._module.lib.zg_pool_grow(self.native, threads):
                raise UnsupportedError(f"the system refuses {threads} threads; use fewer (threads=)")


_pools: dict[ModuleType, Pool] = {}
_growing = threading.RLock()


def pool_of(module: ModuleType) -> Pool:
    """The process's pool of a C module, made at the first call."""
    with _growing:
        if module not in _pools:
            _pools[module] = Pool(module)
        return _pools[module]


def _forget() -> None:
    """Abandon the pools in a forked process, which does not have their threads."""
    global _growing
    _pools.clear()
    _growing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
