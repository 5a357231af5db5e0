"""The LLaMA family as graphs: Llama 1, 2 and 3, Mistral, and whatever else calls itself `llama`."""

from zigai_llama.llama import llama

__all__ = ["llama"]
