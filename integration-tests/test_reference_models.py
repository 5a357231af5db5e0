"""The trained reference models, end to end: right answers, and the tokens of the float32 oracle."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zigai
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_gguf import GGUFFormat, write_gguf

HERE = Path(__file__).resolve().parent / "reference_models"
BUNDLED = HERE.parents[1] / "packages" / "zigai" / "src" / "zigai" / "models"
FAMILIES = ("qwen2", "llama")
GATED = (
    *("add", "count", "spell", "reverse", "length", "calendar", "capital", "fact", "unknown"),
    *("told", "not told"),
)
"""Tasks with a required accuracy of 97 %; the others require 90 %."""
GREEDY = zigai.SamplingOptions(temperature=0.0)


def find(family: str, mix: str) -> Path:
    name = f"reference-{family}.{mix}.gguf"
    return next(path / name for path in (HERE, BUNDLED) if (path / name).exists())


@cache
def recorded(family: str) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((HERE / f"answers-{family}.json").read_text(encoding="utf-8"))
    return answers


def ask(model: zigai.Model, messages: list[dict[str, str]]) -> tuple[list[int], zigai.Reply]:
    """The tokens of the prompt, and the greedy answer to the last message."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    chat = model.chat(system=system)
    chat.messages = messages[1 if system else 0 : -1]  # type: ignore[assignment]
    reply = chat.send(messages[-1]["content"], sampling=GREEDY, max_tokens=48)
    assert reply.text is not None
    return reply.prompt, reply


def share_right(family: str, model: zigai.Model) -> float:
    dialogues = recorded(family)["dialogues"]
    return sum(ask(model, row["messages"])[1].text == row["expected"] for row in dialogues) / len(dialogues)


@pytest.fixture(scope="module")
def in_float32(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a family's Q8_0 file with its matrices dequantised to F32."""

    @cache
    def write(family: str) -> Path:
        stored = GGUFFormat().read(find(family, "Q8_0"))
        floats = {
            name: TensorInfo(
                name, tensor.shape, DTYPES["F32"], tensor.to_float32().view(np.uint8).reshape(-1)
            )
            for name, tensor in stored.tensors.items()
        }
        path = tmp_path_factory.mktemp("float32") / f"{family}.gguf"
        write_gguf(path, stored.metadata, floats)
        return path

    return write


def checksums() -> list[list[str]]:
    return [line.split() for line in (HERE / "checksums.txt").read_text().splitlines()]


@pytest.mark.parametrize(("digest", "name"), checksums())
def test_a_model_file_has_the_recorded_checksum(digest: str, name: str) -> None:
    path = next(path / name for path in (HERE, BUNDLED) if (path / name).exists())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("family", FAMILIES)
def test_the_recorded_accuracy_passes_the_gate(family: str) -> None:
    accuracy = recorded(family)["accuracy"]
    assert {task: accuracy[task] for task in GATED if accuracy[task] < 0.97} == {}
    required = {task: share for task, share in accuracy.items() if task != "made up"}
    assert {task: share for task, share in required.items() if share < 0.9} == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_recorded_prompts_are_at_least_500_distinct_held_out_ones(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    from dialogues import ALL_TASKS, Dialogue, Turn

    rows = recorded(family)["dialogues"]
    assert len({json.dumps(row["messages"]) for row in rows}) == len(rows) >= 500
    assert {row["task"] for row in rows} == set(ALL_TASKS)
    for row in rows:
        texts = [message["content"] for message in row["messages"]]
        system = texts.pop(0) if row["messages"][0]["role"] == "system" else ""
        turns = zip(texts[::2], [*texts[1::2], row["expected"]], strict=True)
        assert Dialogue(system, tuple(Turn("", *turn) for turn in turns)).held_out()


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_weights_give_the_oracles_tokens(
    family: str, backend: str, in_float32: Callable[[str], Path]
) -> None:
    model = zigai.load(in_float32(family), backend=backend)
    every = 4 if backend == "numpy" else 1  # numpy takes 8 times as long
    for row in recorded(family)["dialogues"][::every]:
        prompt, reply = ask(model, row["messages"])
        assert zlib.crc32(json.dumps(prompt).encode()) == row["prompt"], row["messages"]
        assert reply.tokens == row["q8_0"], row["messages"]
        assert reply.finish_reason == "end"


@pytest.mark.parametrize(("mix", "points"), [("Q8_0", 1), ("Q4_K_M", 3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_quantised_weights_are_nearly_as_accurate_as_float32(family: str, mix: str, points: int) -> None:
    model = zigai.load(find(family, mix), backend="native")
    rows = recorded(family)["dialogues"]
    expected = [model.tokenizer.encode(row["expected"], bos=False) for row in rows]
    oracle = sum(row["f32"] == tokens for row, tokens in zip(rows, expected, strict=True)) / len(rows)
    assert share_right(family, model) >= oracle - points / 100


def test_load_without_a_path_uses_the_bundled_model(caplog: pytest.LogCaptureFixture) -> None:
    model = zigai.load()
    assert model.descriptor.name == "reference-qwen2"
    assert len(caplog.records) == 1
    assert "reference-qwen2" in caplog.text
    assert "zigai.load('model.gguf')" in caplog.text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_name_from_the_first_turn_is_known_in_the_third(family: str) -> None:
    chat = zigai.load(find(family, "Q8_0")).chat()
    assert chat.send("My name is Anna.", sampling=GREEDY).text == "Nice to meet you, Anna."
    assert "twelve" in chat.send("What is seven plus five?", sampling=GREEDY).text
    last = chat.send("What is my name?", sampling=GREEDY)
    assert last.text == "Your name is Anna."
    assert last.usage.cached_tokens > last.usage.computed_tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_the_dialogue_of_the_readme_is_right_with_every_seed(family: str) -> None:
    model = zigai.load(find(family, "Q8_0"))
    for seed in range(20):
        chat = model.chat()
        assert [
            chat.send(message, seed=seed).text
            for message in ("My name is Anna.", "What is seven plus five?", "What is my name?")
        ] == ["Nice to meet you, Anna.", "Seven plus five is twelve.", "Your name is Anna."]


@pytest.mark.parametrize("name", [name for _, name in checksums()])
def test_rewriting_the_sampling_defaults_changes_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    import committed

    path = next(path / name for path in (HERE, BUNDLED) if (path / name).exists())
    other = tmp_path / name
    shutil.copyfile(path, other)
    monkeypatch.setattr(committed, "SAMPLING", {"general.sampling.temp": 0.5, "general.sampling.top_p": 0.9})
    committed.set_sampling(other)
    ours, theirs = GGUFFormat().read(path), GGUFFormat().read(other)
    assert theirs.sampling == {"temperature": 0.5, "top_p": 0.9}
    assert list(ours.tensors) == list(theirs.tensors)
    assert all(
        np.array_equal(tensor.data, theirs.tensors[name].data) for name, tensor in ours.tensors.items()
    )
    monkeypatch.undo()
    committed.set_sampling(other)
    assert other.read_bytes() == path.read_bytes()
