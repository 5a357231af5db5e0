"""`zig-ai embed`: arguments, lines, formats, and similarity."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_runner import zig_ai

from zigai_core.api import loading
from zigai_core.api.registry import Plugins
from zigai_core.ops.reference import NumpyBackend


@pytest.fixture(autouse=True)
def numpy_backend(monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> None:
    monkeypatch.setitem(plugins.backends._given, "numpy", NumpyBackend)


def test_a_line_of_numbers_for_each_text(model: Path) -> None:
    shown = zig_ai("embed", "-m", model, "--backend", "numpy", "one", "two").stdout.splitlines()
    rows = np.array([[float(number) for number in line.split()] for line in shown])
    expected = loading.load(model, backend="numpy").embed(["one", "two"])
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)


def test_lines_of_a_file_and_of_standard_input_are_texts(model: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "lines.txt", tmp_path / "out"
    lines = [f"line {number}" for number in range(70)]  # more than are computed together
    text.write_text("\r\n".join(lines) + "\r\n")
    base = ["embed", "-m", model, "--backend", "numpy", "--pooling", "mean", "--no-normalize"]
    assert zig_ai(*base, "--file", text, "--npy", out).exit_code == 0
    expected = loading.load(model, backend="numpy").embed(lines, pooling="mean", normalize=False)
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-4, atol=1e-5)
    printed = zig_ai(*base, "--json", input="line 0\nline 1").stdout.splitlines()
    assert [json.loads(line)["text"] for line in printed] == ["line 0", "line 1"]
    np.testing.assert_allclose(json.loads(printed[1])["embedding"], expected[1], rtol=1e-4, atol=1e-5)


def test_a_text_that_is_too_long_is_named_by_its_number(model: Path, tmp_path: Path) -> None:
    text = tmp_path / "lines.txt"
    text.write_text("\n".join(["short"] * 66 + ["long " * 3000, "short"]))
    result = zig_ai("embed", "-m", model, "--backend", "numpy", "--file", text)
    assert result.exit_code == 1
    assert "text 67: no room: the prompt has" in result.stderr


def test_similarity_is_the_cosine(model: Path) -> None:
    base = ["embed", "-m", model, "--backend", "numpy", "--similarity", "same", "other", "same"]
    answer = json.loads(zig_ai(*base, "--json").stdout)
    cosines = np.array(answer["similarity"])
    assert answer["texts"] == ["same", "other", "same"]
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-5)
    assert cosines[0, 2] == pytest.approx(1, abs=1e-5)
    assert cosines[0, 1] < 0.999
    assert "1.000" in zig_ai(*base).stdout


@pytest.mark.parametrize(
    ("arguments", "given", "code", "message"),
    [
        ([], "a\n\nb", 1, "standard input, line 2: an empty line"),
        ([], "", 1, "standard input: no text to embed"),
        (["text", "--file", "x"], "", 2, "given twice"),
        (["text", "--npy", "x.npy", "--json"], "", 2, "do not apply"),
        (["text", "--npy", "no-such-folder/x.npy"], "", 2, "there is no such folder"),
        (["text", "--similarity", "--no-normalize"], "", 2, "leave out --no-normalize"),
    ],
)
def test_wrong_input(model: Path, arguments: list[str], given: str, code: int, message: str) -> None:
    result = zig_ai("embed", "-m", model, *arguments, input=given)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())
