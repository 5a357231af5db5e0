"""Stores a model without a sliding window, which TOML cannot say."""

from __future__ import annotations

import json
from pathlib import Path


def save(folder: Path) -> None:
    """Sets `sliding_window` of config.json to null."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "sliding_window": None}), encoding="utf-8")
