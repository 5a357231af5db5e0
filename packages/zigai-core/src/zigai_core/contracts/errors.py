"""The errors that ZigAI raises. Each says what was wrong, where, and what to do about it."""

from __future__ import annotations

import reprlib

QUOTED = 80
"""Default for the number of characters of a file's content that an error repeats."""

LONGEST = 2000
"""Maximum length of an error's text, in characters."""


class ZigAIError(Exception):
    """Base class of all errors of ZigAI (`zigai.ZigAIError`).

    The text is one line of at most `LONGEST` characters: lines are joined, unprintable characters are escaped
    and the middle of a text that is too long is left out. Content of a file is shortened further by `quote`.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_one_line(arg) if isinstance(arg, str) else arg for arg in args))


class FormatError(ZigAIError):
    """A file is damaged, or not of its format. Names the file, the field, and the byte offset if known."""


class UnsupportedError(ZigAIError):
    """No installed package supports the request, or an option is invalid. Names what, and what to install."""


class ShapeError(ZigAIError):
    """A tensor is missing, or has the wrong shape or type. Names the tensor and both shapes."""


class TokenizerError(ZigAIError):
    """Text cannot be encoded, or token ids cannot be decoded."""


class TemplateError(ZigAIError):
    """A chat template is missing or fails. Names the template, and the line if known."""


class ContextOverflowError(ZigAIError):
    """There are more tokens than the context or the cache holds. Gives the limit."""


class QueueFullError(ZigAIError):
    """The engine's queue has no room for another request. Gives the limit."""


class PluginError(ZigAIError):
    """A plugin cannot be imported, breaks its contract, or has the name of another plugin."""


class MissingFileError(FormatError, FileNotFoundError):
    """There is no file or folder at a path."""


class DownloadError(ZigAIError):
    """A model's name is not understood, or its download fails. Names the model, and what to do."""


class ChatBusyError(ZigAIError):
    """A chat's earlier reply is still open."""


class SamplingError(ZigAIError, ValueError):
    """A sampling option or a stop string is invalid, or no token can be drawn from the logits."""


class Cancelled(ZigAIError):  # noqa: N818 - not a fault: the caller requested it
    """The cell `stop` of `Executor.run` stopped a step. Nothing of the step is kept."""


def escape(text: str, limit: int = QUOTED) -> str:
    """Returns `text` on one line of at most `limit` characters.

    Unprintable characters are escaped as by `repr`; the middle of a text that is too long is left out.

    >>> escape("two\\nlines")
    'two\\\\nlines'
    >>> escape("x" * 100, 9)
    'xxxxxx…xx'
    """
    if len(text) > 2 * limit:  # so that the cost does not depend on the length
        text = f"{text[:limit]}…{text[-limit:]}"
    if not text.isprintable():
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return _cut(text, limit)


def quote(value: object, limit: int = QUOTED) -> str:
    """Returns a value from a file as text for an error: its `repr` on one line of at most `limit` characters.

    Of arrays and lists, the first four entries are shown.

    >>> quote("a\\x1b[2Jb")
    "'a\\\\x1b[2Jb'"
    >>> quote([1, 2, 3, 4, 5])
    '[1, 2, 3, 4, …]'
    """
    if isinstance(value, str):
        return _cut(repr(value if len(value) <= 2 * limit else f"{value[:limit]}…{value[-limit:]}"), limit)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return escape(repr(bytes(value[:limit])), limit)
    shape = getattr(value, "shape", None)
    if shape == () and hasattr(value, "item"):
        value = value.item()  # a numpy scalar to a Python number
    elif hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, dict):
        count = len(value)
        entries = [quote(value[i], limit) for i in range(min(count, 4))]
        return escape(f"[{', '.join([*entries, '…'] if count > 4 else entries)}]", limit)
    try:
        return escape(_REPR.repr(value), limit)
    except Exception:  # the object's own repr fails
        return escape(f"<{type(value).__name__}>", limit)


def _one_line(text: str) -> str:
    return escape(text if text.isprintable() else " ".join(map(str.strip, text.splitlines())), LONGEST)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    tail = limit // 4
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


_REPR = reprlib.Repr()
