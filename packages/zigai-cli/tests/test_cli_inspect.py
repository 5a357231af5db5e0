"""`zig-ai inspect`: the model, its tensors, the plugins that serve it, and its kernels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runner import zig_ai

pytestmark = pytest.mark.usefixtures("plugins")


def test_inspect_shows_the_model_and_the_plugins_that_serve_it(model: Path) -> None:
    text = zig_ai("inspect", model).stdout
    for words in (
        "toy model",
        "context length",
        "64",
        "300 tokens",
        "in the file",
        "F32",
        "attention.head_count",
    ):
        assert words in text
    assert "LACKS linear of F32" in text
    assert "serves the whole model (chosen by auto)" in text
    assert "token_embd.weight" not in text
    assert "token_embd.weight" in zig_ai("inspect", "--model", model, "--tensors").stdout


def test_inspect_shows_the_sampling_defaults_of_the_file(make_model: Callable[..., Path]) -> None:
    assert "no defaults in the file" in zig_ai("inspect", make_model()).stdout
    given = make_model("other.toy", sampling={"temperature": 0.6, "top_k": 20})
    assert "temperature 0.6, top_k 20" in zig_ai("inspect", given).stdout
    assert json.loads(zig_ai("inspect", given, "--json").stdout)["sampling"]["top_k"] == 20


def test_inspect_shows_kernels(model: Path) -> None:
    text = zig_ai("inspect", model, "--kernels", "--backend", "toy").stdout
    assert "a table of tokens" in text
    assert "lookup" in text
    assert zig_ai("inspect", model, "--kernels", "--backend", "lame").exit_code == 1


def test_inspect_works_without_architecture_and_tokenizer(make_model: Callable[..., Path]) -> None:
    path = make_model(architecture="strange", tokenizer="odd", template=None)
    result = zig_ai("inspect", path)
    assert result.exit_code == 0
    assert "MISSING" in result.stdout
    assert "'strange'" in result.stdout
    assert "'odd'" in result.stdout
    answer = json.loads(zig_ai("inspect", path, "--json").stdout)
    assert answer["served_by"]["chosen"] is None
    assert "strange" in answer["served_by"]["architecture"]["error"]


def test_inspect_with_json_prints_all_facts(model: Path) -> None:
    answer = json.loads(zig_ai("inspect", model, "--json", "--tensors", "--kernels").stdout)
    assert answer["parameters"] == sum(row["elements"] for row in answer["types"])
    assert answer["bytes"] == sum(row["bytes"] for row in answer["tensors"])
    assert answer["served_by"]["chosen"] == "toy"
    assert answer["kernels"]["tensors"][0]["kernel"] == "lookup"
    assert "kernels" not in json.loads(zig_ai("inspect", model, "--json").stdout)
