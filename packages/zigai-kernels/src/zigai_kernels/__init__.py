"""ZigAI's native backend: graphs lowered to C records, and one C call per step."""

from __future__ import annotations

from zigai_kernels.backend import NativeBackend
from zigai_kernels.executor import NativeExecutor
from zigai_kernels.program import NativeProgram

__all__ = ["NativeBackend", "NativeExecutor", "NativeProgram"]
