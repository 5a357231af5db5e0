"""Choosing the next token, in two stages: steps edit the whole row, then others choose candidates from it.

Names, order, defaults and meaning of the steps are llama.cpp's (`llama-sampler.cpp`,
https://github.com/ggml-org/llama.cpp). No step sorts a row.
"""

from zigai_core.engine.sampling.sampler import BUILT_IN, Factories, Sampler

__all__ = ["BUILT_IN", "Factories", "Sampler"]
