"""Every error ZigAI raises on purpose. Each says what was wrong, where, and what to do about it."""

from __future__ import annotations


class ZigAIError(Exception):
    """The base of all of them: `except zigai.ZigAIError` is enough for a program."""


class FormatError(ZigAIError):
    """A file is not what it claims to be: names the file, the byte offset where known, and the field."""


class UnsupportedError(ZigAIError):
    """Nothing that is installed serves what was asked for: names it, and what to install."""


class ShapeError(ZigAIError):
    """A tensor is missing or has another shape than the architecture needs: its name and both shapes."""


class TokenizerError(ZigAIError):
    """Text that cannot be encoded, or token ids that cannot be decoded."""


class TemplateError(ZigAIError):
    """A chat template that is missing, wrong or misbehaves: names the template and the line where known."""


class ContextOverflowError(ZigAIError):
    """More tokens than the context holds, under the policy `error`: both numbers."""


class PluginError(ZigAIError):
    """A plugin that cannot be imported, breaks its contract, or claims a name that another one claims."""


class SamplingError(ZigAIError, ValueError):
    """A sampling option or stop string out of range, or logits that no token can be drawn from."""


class Cancelled(ZigAIError):  # noqa: N818 - not a fault: the caller asked for it
    """A step was stopped by `Context.cancel()` before it was finished; nothing of it is kept."""
