"""What sentence-transformers adds to an encoder: the mean of its hidden states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KIND = "mean"


def save(folder: Path) -> None:
    """Writes the pooling beside a model, as sentence-transformers does."""
    types = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(types.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path in list(types)[1:]:
        (folder / path).mkdir()
    settings = {f"pooling_mode_{kind}": kind == KIND + "_tokens" for kind in ("mean_tokens",)}
    settings["pooling_mode_cls_token"] = KIND == "cls"
    settings["pooling_mode_lasttoken"] = KIND == "last"
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))


def forward(network: Any, ids: Any) -> dict[str, Any]:
    """The embedding of the text, once for each of its tokens."""
    states = network(ids).last_hidden_state[0]
    pooled = {"mean": states.mean(dim=0), "cls": states[0], "last": states[-1]}[KIND]
    return {"hidden": pooled.repeat(ids.shape[1], 1)}
