"""ZigAI: run language models on the machine at hand.

>>> import zigai
>>> model = zigai.load("model.gguf")                                       # doctest: +SKIP
>>> for piece in model.generate("Once upon a time", max_tokens=32):        # doctest: +SKIP
...     print(piece, end="", flush=True)

All names are defined in `zigai_core`; this package depends on the plugins, so that installing it installs
them. A plugin is imported when a model needs it, and a public name when it is first used: importing numpy
alone takes longer than a command should need to print its help.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zigai_core.api.chat import Chat
    from zigai_core.api.loading import load, read
    from zigai_core.api.model import Model
    from zigai_core.api.registry import Plugins
    from zigai_core.api.reply import ChatReply, Reply
    from zigai_core.contracts.errors import (
        Cancelled,
        ChatBusyError,
        ContextOverflowError,
        DownloadError,
        FormatError,
        MissingFileError,
        PluginError,
        QueueFullError,
        SamplingError,
        ShapeError,
        TemplateError,
        TokenizerError,
        UnsupportedError,
        ZigAIError,
    )
    from zigai_core.contracts.load_options import LoadOptions
    from zigai_core.contracts.options import SamplingOptions
    from zigai_core.engine.request import Usage
    from zigai_core.text.chat_template import ChatTemplate, Message

__all__ = [
    "Cancelled",
    "Chat",
    "ChatBusyError",
    "ChatReply",
    "ChatTemplate",
    "ContextOverflowError",
    "DownloadError",
    "FormatError",
    "LoadOptions",
    "Message",
    "MissingFileError",
    "Model",
    "PluginError",
    "Plugins",
    "QueueFullError",
    "Reply",
    "SamplingError",
    "SamplingOptions",
    "ShapeError",
    "TemplateError",
    "TokenizerError",
    "UnsupportedError",
    "Usage",
    "ZigAIError",
    "load",
    "read",
]

_HOMES = {
    "api.chat": ("Chat",),
    "api.reply": ("ChatReply", "Reply"),
    "text.chat_template": ("ChatTemplate", "Message"),
    "contracts.errors": (
        "Cancelled",
        "ChatBusyError",
        "ContextOverflowError",
        "DownloadError",
        "FormatError",
        "MissingFileError",
        "PluginError",
        "QueueFullError",
        "SamplingError",
        "ShapeError",
        "TemplateError",
        "TokenizerError",
        "UnsupportedError",
        "ZigAIError",
    ),
    "engine.request": ("Usage",),
    "api.loading": ("load", "read"),
    "api.model": ("Model",),
    "api.registry": ("Plugins",),
    "contracts.load_options": ("LoadOptions",),
    "contracts.options": ("SamplingOptions",),
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
