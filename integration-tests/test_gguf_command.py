"""`zig-ai gguf` on the model that comes with zigai."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from zig_ai import zig_ai

from zigai.default_model import default


def test_a_model_is_split_used_and_merged(tmp_path: Path) -> None:
    file = default().path
    parts = zig_ai("gguf", "split", file, tmp_path / "toy", "--max-size", "1M").stdout.splitlines()
    assert len(parts) > 2
    assert parts == sorted(str(path) for path in tmp_path.iterdir())
    question = ("chat", "--no-history", "What is seven plus five?", "-m")
    for part in (parts[0], parts[-1]):
        assert zig_ai(*question, part).stdout == "Seven plus five is twelve.\n"
    facts = json.loads(zig_ai("inspect", parts[1], "--json").stdout)
    assert facts["format"] == f"GGUF v3 in {len(parts)} files"
    assert facts["file_bytes"] == sum(Path(part).stat().st_size for part in parts)
    whole = tmp_path / "whole.gguf"
    zig_ai("gguf", "merge", parts[2], whole)
    assert whole.read_bytes() == file.read_bytes()
    Path(parts[1]).unlink()
    assert f"{Path(parts[1]).name}: download the rest" in zig_ai(*question, parts[0], code=1).stderr


def test_metadata_is_changed(tmp_path: Path) -> None:
    changed = tmp_path / "changed.gguf"
    zig_ai("gguf", "set", default().path, "general.name=My toy", "mine.list=[1, 2]", "-o", changed)
    zig_ai("gguf", "set", changed, "--type", "uint8", "mine.level=3")
    zig_ai("gguf", "set", changed, "--new", "general.names=2")
    assert json.loads(zig_ai("inspect", changed, "--json").stdout)["name"] == "My toy"
    zig_ai("gguf", "remove", changed, "mine.list", "mine.level")
    zig_ai("gguf", "set", changed, "general.architecture=other", "--force")
    assert zig_ai("gguf", "show", changed, "general.architecture").stdout.split()[2] == "other"
    zig_ai("gguf", "remove", changed, "general.architecture", "--force")
    assert "did you mean 'general.name'" in zig_ai("gguf", "remove", changed, "general.nam", code=1).stderr


def test_metadata_is_shown() -> None:
    file = default().path
    lines = zig_ai("gguf", "show", file).stdout.splitlines()
    assert lines[0].split() == ["general.architecture", "STRING", "qwen2"]
    one = zig_ai("gguf", "show", file, "tokenizer.chat_template").stdout
    facts = json.loads(zig_ai("gguf", "show", file, "--json").stdout)
    assert [line.split()[0] for line in lines] == list(facts)
    tokens = zig_ai("gguf", "show", file, "tokenizer.ggml.token_type").stdout.split(maxsplit=2)[2]
    assert json.loads(tokens) == facts["tokenizer.ggml.token_type"]["value"]
    template = facts["tokenizer.chat_template"]["value"]
    assert one.split(maxsplit=2)[2] == template.replace("\n", "\\n") + "\n"
    assert len(facts["tokenizer.ggml.tokens"]["value"]) == facts["qwen2.vocab_size"]["value"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["split", "FILE"], 2, "give the size of the parts"),
        (["split", "FILE", "--max-size", "lots"], 2, "give a number of bytes, such as 2G"),
        (["split", "FILE", "--max-size", "9G"], 1, "fit in one part"),
        (["show", "FILE", "block_count"], 1, "did you mean 'qwen2.block_count'"),
        (["merge", "FILE", "out.gguf"], 1, "in one file, so there is nothing to merge"),
        (["merge", "FILE", "FILE"], 1, "exists already"),
        (["set", "FILE", "general.name"], 2, "give KEY=VALUE"),
        (["set", "FILE", "a=1", "a=2"], 2, "a is given twice"),
        (
            ["set", "FILE", "qwen2.block_count=1"],
            1,
            "would not be built here any more",
        ),
        (
            ["set", "FILE", "general.architecture=llama"],
            1,
            "would not be built here any more",
        ),
        (["set", "FILE", "rope.freq_base=1"], 1, "did you mean 'qwen2.rope.freq_base'? --new"),
        (["set", "FILE", "split.count=3"], 1, "would not open any more, and stays as it is"),
        (["set", "FILE", "a=1", "--type", "NUMBER"], 2, "choose one of UINT8"),
        (["set", "FILE", "a=[]", "-o", "x.gguf"], 1, "empty list"),
        (["remove", "absent.gguf", "a"], 1, "absent.gguf: there is no such file"),
    ],
)
def test_what_is_not_possible_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.gguf"
    file.write_bytes(default().path.read_bytes())
    given = [str(file) if argument == "FILE" else argument for argument in arguments]
    assert error in " ".join(zig_ai("gguf", *given, code=code).stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
