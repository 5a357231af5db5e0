"""ZigAI: run language models on the machine at hand.

>>> import zigai
>>> model = zigai.load("model.gguf")                                       # doctest: +SKIP
>>> for piece in model.generate("Once upon a time", max_tokens=32):        # doctest: +SKIP
...     print(piece, end="", flush=True)

Everything here lives in `zigai_core`; this package adds the plugins, by depending on them. None of them is
imported before a model needs it.
"""

from __future__ import annotations

from zigai_core.chat import Chat
from zigai_core.chat_template import ChatTemplate, Message
from zigai_core.errors import (
    Cancelled,
    ContextOverflowError,
    FormatError,
    PluginError,
    ShapeError,
    TemplateError,
    TokenizerError,
    UnsupportedError,
    ZigAIError,
)
from zigai_core.generation import Generation, GenerationStats
from zigai_core.loading import load, read
from zigai_core.model import Model
from zigai_core.registry import Plugins
from zigai_core.sampling import SamplingOptions
from zigai_core.session import Session

__all__ = [
    "Cancelled",
    "Chat",
    "ChatTemplate",
    "ContextOverflowError",
    "FormatError",
    "Generation",
    "GenerationStats",
    "Message",
    "Model",
    "PluginError",
    "Plugins",
    "SamplingOptions",
    "Session",
    "ShapeError",
    "TemplateError",
    "TokenizerError",
    "UnsupportedError",
    "ZigAIError",
    "load",
    "read",
]
