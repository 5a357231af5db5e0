"""The GLM family as graphs: one module for each `general.architecture`.

Each function is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_glm.chatglm import chatglm
from zigai_glm.glm4 import glm4
from zigai_glm.glm4moe import glm4moe

__all__ = ["chatglm", "glm4", "glm4moe"]
