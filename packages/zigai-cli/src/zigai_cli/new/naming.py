"""Names of a new package: of its distribution, its modules, and what it registers."""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import dataclass

import typer

from zigai_core.contracts.errors import quote

LONGEST = 24
"""Maximum length of a name, in characters: lines of code that contain it stay within 110."""

_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""A name under which an architecture may be registered: `general.architecture` in GGUF files."""

PREFIX = "zigai-"
OWN = frozenset(
    {
        "cli",
        "cohere",
        "core",
        "gemma",
        "gguf",
        "gpt",
        "hub",
        "kernels",
        "lfm",
        "llama",
        "mamba",
        "phi",
        "qwen",
        "safetensors",
        "tokenizers",
    }
)
"""Names of ZigAI's own packages, without `PREFIX`."""
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_AMBIGUOUS = frozenset({"i", "l", "o"})
"""Names that linters refuse, since in some fonts they look like 1 or 0 (PEP 8)."""


@dataclass(frozen=True)
class PackageName:
    """The spellings of a package's name, which is lower-case words with hyphens: `my-model`."""

    name: str

    @property
    def distribution(self) -> str:
        """Name of the distribution and of its folder: `zigai-my-model`."""
        return PREFIX + self.name

    @property
    def module(self) -> str:
        """Name that is imported: `zigai_my_model`."""
        return self.distribution.replace("-", "_")

    @property
    def function(self) -> str:
        """Name of a function: `my_model`."""
        return self.name.replace("-", "_")

    @property
    def constant(self) -> str:
        """Name of a constant: `MY_MODEL`."""
        return self.function.upper()

    @property
    def class_name(self) -> str:
        """Name of a class: `MyModel`."""
        return "".join(word.capitalize() for word in self.name.split("-"))


def package_name(text: str, *, has_function: bool = True) -> PackageName:
    """The name of a package as it was given. `has_function`: its code has a function of this name.

    Raises `typer.BadParameter` for one that is not valid for a distribution or for what the code defines, and
    suggests another.
    """
    if not _NAME.fullmatch(text) or len(text) > LONGEST or text.startswith(PREFIX):
        other = normalised(text)
        advice = f"; use {other}" if other else ""
        raise typer.BadParameter(
            f"the name {quote(text)} is not valid: give lower-case words of ASCII letters and digits, joined "
            f"by hyphens, which begin with a letter; at most {LONGEST} characters, without {PREFIX}{advice}"
        )
    if text in OWN:
        raise typer.BadParameter(
            f"the name {text!r} is taken by ZigAI itself, which has a package {PREFIX}{text}; use another, "
            f"such as my-{text}"
        )
    name = PackageName(text)
    reason = _unusable(name) if has_function else ""
    if name.function.startswith("test"):
        what = "function" if has_function else "class"
        reason = f"pytest would take the {what} of this name for a test"
    if reason:
        raise typer.BadParameter(f"the name {text!r} is not valid: {reason}; use another, such as my-{text}")
    return name


def _unusable(name: PackageName) -> str:
    """Why a function, a constant or a class cannot have the name, or an empty text."""
    for spelling in (name.function, name.constant, name.class_name):
        if keyword.iskeyword(spelling) or hasattr(builtins, spelling):
            return f"{spelling} would hide a word of Python"
    return "linters refuse it, since it looks like a digit" if name.function in _AMBIGUOUS else ""


def normalised(text: str) -> str:
    """The valid name that is nearest to `text`; empty if none is.

    >>> normalised("zigai_MyModel 2.5")
    'mymodel-2-5'
    """
    words = re.findall(r"[a-z0-9]+", text.lower()) if text.isascii() else []
    while words and (words[0] == "zigai" or words[0][0].isdigit()):
        words = words[1:]
    name = "-".join(words)[:LONGEST].rstrip("-")
    return name if _NAME.fullmatch(name) else ""


def architecture_name(what: str, text: str) -> str:
    """The name of an architecture in model files; `what` says where it comes from.

    Raises `typer.BadParameter` for one that is longer than `LONGEST`, or not plain ASCII.
    """
    if not _KEY.fullmatch(text) or len(text) > LONGEST:
        raise typer.BadParameter(
            f"{what} {quote(text)} is not valid as the name of an architecture: give at most {LONGEST} ASCII "
            "letters, digits, dots, underscores and hyphens with --architecture"
        )
    return text
