"""What a trained model answers, through transformers in float32, greedily.

`python evaluate.py qwen2 FOLDER` writes `answers-qwen2.json` beside this file: how many answers are right,
task by task, and 504 held-out dialogues with the tokens that the model answers. `FOLDER` is what `train.py`
wrote.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from dialogues import ALL_TASKS, GATED, Dialogue, Maker
from quantize import quantize
from vocabularies import VOCABULARIES, lay_out

TEST_SEED = 1_000_000
LONGEST = 48
"""Tokens of the longest answer and some more."""


def held_out(task: str, count: int) -> list[Dialogue]:
    """The same held-out dialogues each time, all different, each ending in a question of this task."""
    maker = Maker(TEST_SEED + list(ALL_TASKS).index(task))
    dialogues: dict[Dialogue, None] = {}
    for _ in range(200 * count):
        dialogues[maker.test(task)] = None
        if len(dialogues) == count:
            break
    return list(dialogues)


def prompt(vocabulary: Any, dialogue: Dialogue) -> list[int]:
    """The ids up to the place where the last answer begins."""
    pieces = vocabulary.write(vocabulary.rendered(dialogue))
    ids, _ = lay_out(pieces[:-1])
    return ids


@torch.no_grad()
def answers(
    model: Any, vocabulary: Any, dialogues: Sequence[Dialogue], *, batch: int = 64
) -> list[list[int]]:
    """The greedy answers as ids, without the end, in the order of the dialogues.

    Rows of a batch have prompts of one length: nothing is padded, so that a row is what it would be alone.
    """
    prompts = [prompt(vocabulary, dialogue) for dialogue in dialogues]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    written: list[list[int]] = [[] for _ in prompts]
    while order:
        length = len(prompts[order[0]])
        rows = [i for i in order[:batch] if len(prompts[i]) == length]
        order = order[len(rows) :]
        ids = torch.tensor([prompts[i] for i in rows], device=model.device)
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=LONGEST,
            eos_token_id=vocabulary.end,
            pad_token_id=vocabulary.padding,
        )
        for i, row in zip(rows, out[:, length:].tolist(), strict=True):
            written[i] = row[: row.index(vocabulary.end)] if vocabulary.end in row else row
    return written


def accuracy(model: Any, vocabulary: Any, *, per_task: int) -> dict[str, float]:
    """The share of exact answers, task by task."""
    shares = {}
    for task in ALL_TASKS:
        dialogues = held_out(task, per_task)
        written = answers(model, vocabulary, dialogues)
        right = [
            vocabulary.encode(dialogue.turns[-1].answer) == ids
            for dialogue, ids in zip(dialogues, written, strict=True)
        ]
        shares[task] = sum(right) / len(right)
    return shares


def rounded(model: Any) -> Any:
    """The model with every matrix as Q8_0 stores it, in float32 again: what a Q8_0 file means, exactly."""
    state = model.state_dict()
    for name, weight in state.items():
        if weight.ndim == 2:
            state[name] = torch.from_numpy(quantize(name, weight.numpy(), "Q8_0").to_float32().copy())
    copy = type(model)(model.config).float().eval()
    copy.load_state_dict(state)
    return copy


def record(family: str, folder: Path, *, per_task: int = 28) -> dict[str, Any]:
    """Held-out dialogues of all tasks with the oracle's answers, for the weights as trained and as Q8_0."""
    from transformers import AutoModelForCausalLM

    vocabulary = VOCABULARIES[family](folder / VOCABULARIES[family].FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    dialogues = [dialogue for task in ALL_TASKS for dialogue in held_out(task, per_task)]
    trained, stored = (answers(each, vocabulary, dialogues) for each in (model, rounded(model)))
    rows = [
        {
            "task": dialogue.turns[-1].task,
            "messages": dialogue.messages(),
            "expected": dialogue.turns[-1].answer,
            "prompt": zlib.crc32(json.dumps(prompt(vocabulary, dialogue)).encode()),
            "f32": as_trained,
            "q8_0": as_stored,
        }
        for dialogue, as_trained, as_stored in zip(dialogues, trained, stored, strict=True)
    ]
    return {"accuracy": accuracy(model, vocabulary, per_task=200), "dialogues": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("family", choices=sorted(VOCABULARIES))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    told = record(options.family, options.folder)
    for task, share in told["accuracy"].items():
        print(f"{task:10} {share:6.1%}{'  gated' if task in GATED else ''}")
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in told["dialogues"])
    text = f'{{"accuracy": {json.dumps(told["accuracy"])},\n"dialogues": [\n{rows}\n]}}\n'
    Path(__file__).with_name(f"answers-{options.family}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
