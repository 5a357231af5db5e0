"""The Qwen family as graphs: one module for each `general.architecture`."""

from zigai_qwen.qwen import qwen
from zigai_qwen.qwen2 import qwen2
from zigai_qwen.qwen3 import qwen3

__all__ = ["qwen", "qwen2", "qwen3"]
