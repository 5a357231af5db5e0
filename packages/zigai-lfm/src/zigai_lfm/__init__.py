"""The LFM family as graphs: one module for each `general.architecture`.

Each is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_lfm.lfm2 import lfm2

__all__ = ["lfm2"]
