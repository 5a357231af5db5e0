"""The Mamba family as graphs: one module for each `general.architecture`.

Each is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_mamba.granitehybrid import granitehybrid
from zigai_mamba.mamba import mamba
from zigai_mamba.mamba2 import mamba2

__all__ = ["granitehybrid", "mamba", "mamba2"]
