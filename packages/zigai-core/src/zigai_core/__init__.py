"""The contracts of ZigAI and everything that needs no plugin: graphs, sessions, sampling, the numpy backend.

The line that a model walks, and where each step of it lives:

    file → FormatReader → ModelDescriptor → Architecture → Graph → Backend → Program → Session → Sampler
         → Tokenizer → text

`loading` walks it from the file to a `Model`, `protocols` holds every contract, `registry` finds plugins.
"""

from zigai_core.chat import Chat
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
    "ContextOverflowError",
    "FormatError",
    "Generation",
    "GenerationStats",
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
