"""The LLaMA family as graphs: Llama 1 to 3, Mistral, Mixtral and other models stored as `llama`.

`llama` is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_llama.llama import llama

__all__ = ["llama"]
