"""Every error ZigAI raises on purpose. Each says what was wrong, where, and what to do about it."""

from __future__ import annotations

import reprlib

QUOTED = 80
"""Characters of a file's content that an error repeats, where the caller names no other number."""

LONGEST = 2000
"""Characters of an error's whole text."""


class ZigAIError(Exception):
    """The base of all of them: `except zigai.ZigAIError` is enough for a program.

    The text is one line of at most `LONGEST` characters: lines are joined, what is not printable is escaped
    and, where it is too long, its middle left out. Content of a file is cut shorter where it is repeated: see
    `quote`.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_one_line(arg) if isinstance(arg, str) else arg for arg in args))


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


def escape(text: str, limit: int = QUOTED) -> str:
    """Text on one line: what is not printable as `repr` writes it, the middle left out past `limit`.

    >>> escape("two\\nlines")
    'two\\\\nlines'
    >>> escape("x" * 100, 9)
    'xxxxxx…xx'
    """
    if len(text) > 2 * limit:  # cut first, so that the cost is not the text's length
        text = f"{text[:limit]}…{text[-limit:]}"
    if not text.isprintable():
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return _cut(text, limit)


def quote(value: object, limit: int = QUOTED) -> str:
    """A value out of a file as an error repeats it: like `repr`, on one line of at most `limit` characters.

    Arrays and lists show their first entries.

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
        value = value.item()  # a number of numpy's as Python's own
    elif hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, dict):
        count = len(value)
        entries = [quote(value[i], limit) for i in range(min(count, 4))]
        return escape(f"[{', '.join([*entries, '…'] if count > 4 else entries)}]", limit)
    try:
        return escape(_REPR.repr(value), limit)
    except Exception:  # an object whose own repr fails
        return escape(f"<{type(value).__name__}>", limit)


def _one_line(text: str) -> str:
    return escape(text if text.isprintable() else " ".join(map(str.strip, text.splitlines())), LONGEST)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    tail = limit // 4
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


_REPR = reprlib.Repr()
