"""ZigAI's native backend: a graph lowered once to C records, a whole step in one foreign call."""

from __future__ import annotations

from zigai_kernels.backend import NativeBackend
from zigai_kernels.context import NativeContext
from zigai_kernels.program import NativeProgram

__all__ = ["NativeBackend", "NativeContext", "NativeProgram"]
