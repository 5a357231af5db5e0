"""Sampling of the next token, in two stages: row steps edit all logits, candidate steps select from them.

The steps and their names, order, defaults and meaning are those of llama.cpp (`llama-sampler.cpp`,
https://github.com/ggml-org/llama.cpp). No step sorts a whole row.
"""

from zigai_core.engine.sampling.sampler import BUILT_IN, Factories, Sampler

__all__ = ["BUILT_IN", "Factories", "Sampler"]
