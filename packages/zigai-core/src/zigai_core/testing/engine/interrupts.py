"""Ctrl-C, or another signal, at a chosen point of Python code."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

CHECKED = ("CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD")
"""Instructions at whose end CPython (3.11 to 3.13) looks for signals, and so raises KeyboardInterrupt."""


class Interrupt:
    """Raises KeyboardInterrupt in a `with` block, at the n-th point where CPython might raise it.

    A signal's exception is raised after a call of a function in C, at the start of a function in Python and
    at a jump back; never between other instructions. Only points in files under `folders` count, and only
    those of the thread that enters the block. `handler` is called there instead, as a signal's handler is,
    and what it raises is raised. `points` is the number of points that were passed: with `at`
    above it, nothing is raised, and the number of points of the block is known.

    >>> with Interrupt(at=10**9, folders=[Path("src/zigai_core/engine")]) as counted:    # doctest: +SKIP
    ...     engine.step()
    >>> with Interrupt(at=counted.points, folders=[...]):                                # doctest: +SKIP
    ...     engine.step()  # KeyboardInterrupt at the last point
    """

    def __init__(
        self, at: int, folders: Collection[Path], handler: Callable[[], object] | None = None
    ) -> None:
        self.points = 0
        self._handler = handler
        self._at = at
        self._folders = tuple(str(folder) for folder in folders)
        self._last: tuple[FrameType, bool] | None = None
        """The frame of the last instruction, and whether a signal may be noticed at its end."""

    def __enter__(self) -> Interrupt:
        sys.settrace(self._trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.settrace(None)
        self._last = None  # a frame keeps all its objects alive

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "call":
            self._last = None
            if not frame.f_code.co_filename.startswith(self._folders):
                return None
            frame.f_trace_opcodes = True
            # What is raised in a finalizer, or when a generator is closed, is not passed on.
            ends = frame.f_code.co_flags & inspect.CO_GENERATOR or frame.f_code.co_name == "__del__"
            return self._trace if ends else self._pass_point()
        if event == "return":
            self._last = None
        elif event == "opcode":
            last = self._last
            self._last = (frame, _instruction(frame) in CHECKED)
            if last is not None and last[0] is frame and last[1]:
                return self._pass_point()
        return self._trace

    def _pass_point(self) -> Any:
        """Counts a point, interrupts there if it is the one, and returns what traces what follows."""
        self.points += 1
        if self.points != self._at:
            return self._trace
        sys.settrace(None)
        if self._handler is None:
            raise KeyboardInterrupt
        self._handler()
        return None


@cache
def _code(code: CodeType) -> bytes:
    return code.co_code


def _instruction(frame: FrameType) -> str:
    return dis.opname[_code(frame.f_code)[frame.f_lasti]]
