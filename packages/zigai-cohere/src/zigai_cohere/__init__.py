"""The Command family as graphs: one module for each `general.architecture`.

Each function is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_cohere.cohere2 import cohere2
from zigai_cohere.command_r import command_r

__all__ = ["cohere2", "command_r"]
