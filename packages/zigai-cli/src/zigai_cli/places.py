"""Folders of the user: settings, and data such as stored conversations.

With the environment variable ZIGAI_HOME both are below that folder. Sources: the platform's conventions, as
platformdirs knows them (https://platformdirs.readthedocs.io).
"""

from __future__ import annotations

import os
from pathlib import Path


def config_folder() -> Path:
    """The folder of settings files, which may not exist: `~/.config/zigai` on Linux."""
    home = os.environ.get("ZIGAI_HOME")
    if home:
        return Path(home) / "config"
    from platformdirs import user_config_path

    return user_config_path("zigai", appauthor=False)


def data_folder() -> Path:
    """The folder of the user's data, which may not exist: `~/.local/share/zigai` on Linux."""
    home = os.environ.get("ZIGAI_HOME")
    if home:
        return Path(home) / "data"
    from platformdirs import user_data_path

    return user_data_path("zigai", appauthor=False)
