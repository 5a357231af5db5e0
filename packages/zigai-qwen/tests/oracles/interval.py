"""States the kinds of layers as the first folders do: every n-th one has attention."""

from __future__ import annotations

import json
import runpy
from pathlib import Path


def save(folder: Path) -> None:
    runpy.run_path(str(Path(__file__).with_name("small_values.py")))["save"](folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    kinds = config.pop("layer_types")
    config["full_attention_interval"] = kinds.index("full_attention") + 1
    path.write_text(json.dumps(config), encoding="utf-8")
