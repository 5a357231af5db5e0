"""Writes the settings of the text model beside those of images, as in the first folders of Qwen2-VL."""

from __future__ import annotations

import json
from pathlib import Path

KEPT = ("model_type", "architectures", "dtype", "tie_word_embeddings")


def save(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    text = config.pop("text_config", {})
    rope = text.pop("rope_parameters", None)
    if rope is not None:
        text["rope_theta"] = rope["rope_theta"]
        text["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    config |= {key: value for key, value in text.items() if key not in KEPT}
    path.write_text(json.dumps(config), encoding="utf-8")
