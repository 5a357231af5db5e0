"""Finds the chat template that --template names."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from zigai_cli.failure import InputError

if TYPE_CHECKING:
    from zigai_core.text.chat_template import ChatTemplate

MAX_BYTES = 400_000
"""Largest template file, in bytes: core takes 100,000 characters, each of at most 4 bytes in UTF-8."""


def choose(name_or_file: str | None) -> ChatTemplate | None:
    """Return the registered template of this name, or else the template in this file; None for None.

    Raises `InputError` if it is neither a registered template nor a readable UTF-8 file.
    """
    if name_or_file is None:
        return None
    from zigai_core.api.registry import Plugins
    from zigai_core.text.chat_template import ChatTemplate

    templates = Plugins.installed().chat_templates
    if name_or_file in templates:
        return ChatTemplate(templates.get(name_or_file), origin=f"the registered template {name_or_file}")
    try:
        text = read_text(Path(name_or_file))
    except FileNotFoundError as error:
        raise InputError(
            f"--template {name_or_file}: neither a registered template ({registered()}) nor a file"
        ) from error
    except OSError as error:
        raise InputError(f"--template {name_or_file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--template {name_or_file}: not UTF-8 text (at byte {error.start})") from error
    return ChatTemplate(text, origin=f"the file {name_or_file}")


def registered() -> str:
    """The names of the registered templates, or `none`."""
    from zigai_core.api.registry import Plugins

    return ", ".join(Plugins.installed().chat_templates) or "none"


def read_text(path: Path) -> str:
    """Read a template file. Raises `InputError` if it is not a regular file or is larger than `MAX_BYTES`."""
    # Without O_NONBLOCK, opening a FIFO blocks until a writer opens it. Windows has no such flag.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"--template {path}: not a regular file of at most {MAX_BYTES} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise InputError(f"--template {path}: larger than {MAX_BYTES} bytes, the limit for a template")
    return content.decode("utf-8")
