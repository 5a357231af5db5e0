"""The Gemma family as graphs: one module for each `general.architecture`.

Each function is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_gemma.gemma import gemma
from zigai_gemma.gemma2 import gemma2
from zigai_gemma.gemma3 import gemma3
from zigai_gemma.gemma3n import gemma3n
from zigai_gemma.gemma4 import gemma4
from zigai_gemma.gemma_embedding import gemma_embedding

__all__ = ["gemma", "gemma2", "gemma3", "gemma3n", "gemma4", "gemma_embedding"]
