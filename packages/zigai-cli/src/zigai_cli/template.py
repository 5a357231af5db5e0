"""Which chat template a conversation takes, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zigai_cli.failure import InputError

if TYPE_CHECKING:
    from zigai_core.text.chat_template import ChatTemplate


def choose(name_or_file: str | None) -> ChatTemplate | None:
    """The template of that name, else the one in that file; None for None, which leaves it to the model."""
    if name_or_file is None:
        return None
    from zigai_core.api.registry import Plugins
    from zigai_core.text.chat_template import ChatTemplate

    registered = Plugins.installed().chat_templates
    if name_or_file in registered:
        return ChatTemplate(registered.get(name_or_file), origin=f"the registered template {name_or_file}")
    path = Path(name_or_file)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"--template {name_or_file}: neither a registered template ({', '.join(registered) or 'none'}) "
            "nor a file"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"--template {name_or_file}: not UTF-8 text (at byte {error.start})") from error
    return ChatTemplate(text, origin=f"the file {name_or_file}")
