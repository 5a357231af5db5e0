"""The fixed texts on which the accuracy of a model is measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zigai

HERE = Path(__file__).resolve()
REFERENCE = HERE.parents[2] / "integration-tests" / "reference_models"
STORY = HERE.parents[1] / "story.txt"


@dataclass(frozen=True)
class Passage:
    """Tokens of one sequence. Perplexity counts those from `counted` on, which the model was trained on."""

    tokens: list[int]
    counted: int = 1


def passages(
    model: zigai.Model, *, text: Path = STORY, length: int = 256, dialogues: int = 504
) -> list[Passage]:
    """For a reference model its recorded dialogues, for any other model pieces of a text.

    `length`: maximum tokens of a piece. `dialogues`: minimum number of recorded dialogues, evenly spaced.
    """
    recorded = REFERENCE / f"answers-{model.descriptor.name.removeprefix('reference-')}.json"
    if recorded.exists():
        rows = json.loads(recorded.read_text(encoding="utf-8"))["dialogues"]
        return [_dialogue(model, row) for row in rows[:: max(1, len(rows) // dialogues)]]
    spec = model.descriptor.tokenizer
    bos = [model.tokenizer.special_ids["bos"]] if spec is not None and spec.add_bos else []
    tokens = model.tokenizer.encode(text.read_text(encoding="utf-8"), bos=False)
    length = min(length, model.options.context) - len(bos)
    pieces = [tokens[start : start + length] for start in range(0, len(tokens), length)]
    return [Passage([*bos, *piece]) for piece in pieces if len(bos) + len(piece) > 1]


def _dialogue(model: zigai.Model, row: dict[str, Any]) -> Passage:
    """A conversation with the right answer to its last message. Only the answer counts: it was the target."""
    if model.template is None:
        raise zigai.TemplateError(f"{model.descriptor.name} has dialogues but no chat template")
    prompt = model.tokenizer.encode(model.template.render(row["messages"]), special=True)
    return Passage([*prompt, *model.tokenizer.encode(row["expected"], bos=False)], len(prompt))
