"""Records the greedy answers of a trained model, computed with transformers in float32.

`python evaluate.py qwen2 FOLDER` writes `answers-qwen2.json` beside this file: the accuracy by task, and 504
held-out dialogues with the tokens of the model's answers. `FOLDER` is the output folder of `train.py`.
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
"""Maximum tokens of an answer: more than the longest right one has."""


def held_out(task: str, count: int) -> list[Dialogue]:
    """Distinct held-out dialogues that end in a question of this task, always the same ones."""
    maker = Maker(TEST_SEED + list(ALL_TASKS).index(task))
    dialogues: dict[Dialogue, None] = {}
    for _ in range(200 * count):
        dialogues[maker.test(task)] = None
        if len(dialogues) == count:
            break
    return list(dialogues)


def prompt(vocabulary: Any, dialogue: Dialogue) -> list[int]:
    """The token ids before the last answer."""
    pieces = vocabulary.write(vocabulary.rendered(dialogue))
    ids, _ = lay_out(pieces[:-1])
    return ids


@torch.no_grad()
def answers(
    model: Any, vocabulary: Any, dialogues: Sequence[Dialogue], *, batch: int = 64
) -> list[list[int]]:
    """The greedy answers as token ids, without the end token, in the order of the dialogues.

    The prompts of a batch have equal lengths: without padding each row gets the numbers that it gets alone.
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
    """The share of exact answers by task."""
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
    """The model with every matrix quantised to Q8_0 and dequantised: exactly the weights of the Q8_0 file."""
    state = model.state_dict()
    for name, weight in state.items():
        if weight.ndim == 2:
            state[name] = torch.from_numpy(quantize(name, weight.numpy(), "Q8_0").to_float32().copy())
    copy = type(model)(model.config).float().eval()
    copy.load_state_dict(state)
    return copy


def record(family: str, folder: Path, *, per_task: int = 28) -> dict[str, Any]:
    """Held-out dialogues of all tasks with the oracle's answers, for the trained and the Q8_0 weights."""
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
    answered = record(options.family, options.folder)
    for task, share in answered["accuracy"].items():
        print(f"{task:10} {share:6.1%}{'  gated' if task in GATED else ''}")
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in answered["dialogues"])
    text = f'{{"accuracy": {json.dumps(answered["accuracy"])},\n"dialogues": [\n{rows}\n]}}\n'
    Path(__file__).with_name(f"answers-{options.family}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
