"""The LLaMA family as graphs: one module for each `general.architecture`.

Each function is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_llama.exaone4 import exaone4
from zigai_llama.granite import granite
from zigai_llama.llama import llama
from zigai_llama.llama4 import llama4
from zigai_llama.mistral3 import mistral3
from zigai_llama.olmo2 import olmo2
from zigai_llama.seed_oss import seed_oss
from zigai_llama.smollm3 import smollm3

__all__ = ["exaone4", "granite", "llama", "llama4", "mistral3", "olmo2", "seed_oss", "smollm3"]
