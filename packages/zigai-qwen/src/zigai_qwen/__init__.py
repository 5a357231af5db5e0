"""The Qwen family as graphs: one module for each `general.architecture`.

Each function is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_qwen.qwen import qwen
from zigai_qwen.qwen2 import qwen2
from zigai_qwen.qwen2moe import qwen2moe
from zigai_qwen.qwen3 import qwen3
from zigai_qwen.qwen3moe import qwen3moe
from zigai_qwen.qwen3next import qwen3next
from zigai_qwen.qwen35 import qwen35
from zigai_qwen.qwen35moe import qwen35moe

__all__ = ["qwen", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "qwen3next", "qwen35", "qwen35moe"]
