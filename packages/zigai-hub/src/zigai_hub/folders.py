"""Folders of the user: downloaded models, and the file of aliases. ZIGAI_HOME moves both."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_config_path, user_data_path


def models_folder() -> Path:
    """The folder of models that this package stores itself, which may not exist."""
    home = os.environ.get("ZIGAI_HOME")
    data = Path(home) / "data" if home else user_data_path("zigai", appauthor=False)
    return data / "models"


def aliases_file() -> Path:
    """The user's `models.toml`, which may not exist."""
    home = os.environ.get("ZIGAI_HOME")
    config = Path(home) / "config" if home else user_config_path("zigai", appauthor=False)
    return config / "models.toml"
