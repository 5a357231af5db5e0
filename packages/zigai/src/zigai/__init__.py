"""ZigAI: run language models on the machine at hand.

>>> import zigai
>>> model = zigai.load("model.gguf")                                       # doctest: +SKIP
>>> for piece in model.generate("Once upon a time", max_tokens=32):        # doctest: +SKIP
...     print(piece, end="", flush=True)

Everything here lives in `zigai_core`; this package adds the plugins, by depending on them. None of them is
imported before a model needs it, and a name here not before it is used: importing numpy alone takes longer
than a command that only prints its help may take.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zigai_core.chat import Chat, Reply
    from zigai_core.chat_template import ChatTemplate, Message
    from zigai_core.errors import (
        Cancelled,
        ContextOverflowError,
        FormatError,
        PluginError,
        SamplingError,
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
    "Reply",
    "SamplingError",
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

_HOMES = {
    "chat": ("Chat", "Reply"),
    "chat_template": ("ChatTemplate", "Message"),
    "errors": (
        "Cancelled",
        "ContextOverflowError",
        "FormatError",
        "PluginError",
        "SamplingError",
        "ShapeError",
        "TemplateError",
        "TokenizerError",
        "UnsupportedError",
        "ZigAIError",
    ),
    "generation": ("Generation", "GenerationStats"),
    "loading": ("load", "read"),
    "model": ("Model",),
    "registry": ("Plugins",),
    "sampling": ("SamplingOptions",),
    "session": ("Session",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"zigai_core.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'zigai' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
