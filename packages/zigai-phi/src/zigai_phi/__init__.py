"""The Phi family as graphs: one module for each `general.architecture`.

`phi3` is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_phi.phi3 import phi3

__all__ = ["phi3"]
