"""The DeepSeek family as graphs: one module for each `general.architecture`.

`deepseek2` is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_deepseek.deepseek2 import deepseek2

__all__ = ["deepseek2"]
