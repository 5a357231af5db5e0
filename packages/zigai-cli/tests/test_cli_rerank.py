"""`zig-ai rerank`: documents, order, formats, and errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_runner import zig_ai

from zigai_core.api import loading
from zigai_core.api.registry import Plugins
from zigai_core.ops.reference import NumpyBackend

DOCUMENTS = [f"{letter}{letter}" for letter in "zebra,q"]


@pytest.fixture(autouse=True)
def numpy_backend(monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> None:
    monkeypatch.setitem(plugins.backends._given, "numpy", NumpyBackend)


@pytest.fixture
def reranker(make_model: Callable[..., Path]) -> Path:
    return make_model("reranker.toy", architecture="toy-reranker", labels=1)


def expected(path: Path, documents: list[str]) -> list[tuple[float, int, str]]:
    scores = loading.load(path, backend="numpy").rerank("query", documents).tolist()
    assert len(set(scores)) == len(documents)
    return sorted(zip(scores, range(1, len(documents) + 1), documents, strict=True), reverse=True)


def test_the_best_document_comes_first_with_its_number(reranker: Path) -> None:
    base = ["rerank", "-m", reranker, "--backend", "numpy", "query", *DOCUMENTS]
    wanted = expected(reranker, DOCUMENTS)
    head, *rows = zig_ai(*base).stdout.splitlines()
    assert head.split() == ["score", "number", "document"]
    assert [row.split(None, 2)[1:] for row in rows] == [[str(number), text] for _, number, text in wanted]
    scores = [float(row.split()[0]) for row in rows]
    assert scores == pytest.approx([score for score, _, _ in wanted], abs=1e-3)
    assert len(zig_ai(*base, "--top", "2").stdout.splitlines()) == 3
    assert zig_ai(*base, "--top", "100").stdout == zig_ai(*base).stdout


def test_lines_of_a_file_and_of_standard_input_are_documents(reranker: Path, tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    lines = [f"line {number}" + "x" * number for number in range(30)]
    file.write_text("\r\n".join(lines) + "\r\n")
    base = ["rerank", "-m", reranker, "--backend", "numpy", "query", "--json"]
    wanted = [
        {"number": number, "score": score, "document": text}
        for score, number, text in expected(reranker, lines)
    ]
    for printed in (zig_ai(*base, "--file", file), zig_ai(*base, input="\n".join(lines))):
        found = [json.loads(line) for line in printed.stdout.splitlines()]
        assert [each["document"] for each in found] == [each["document"] for each in wanted]
        np.testing.assert_allclose(
            [each["score"] for each in found], [each["score"] for each in wanted], rtol=1e-5
        )
    assert len(zig_ai(*base, "--file", file, "--top", "3").stdout.splitlines()) == 3


def test_a_document_that_is_too_long_is_named_or_cut_off(make_model: Callable[..., Path]) -> None:
    path = make_model(architecture="toy-reranker", labels=1, context=16)
    base = ["rerank", "-m", path, "--backend", "numpy", "q", "short", "x" * 40]
    refused = zig_ai(*base)
    assert refused.exit_code == 1
    assert "document 1 has" in refused.stderr
    assert "--truncate" in refused.stderr
    assert zig_ai(*base, "--truncate").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "given", "code", "message"),
    [
        (["q"], "a\n\nb", 1, "standard input, line 2: an empty line is no document"),
        (["q"], "", 1, "standard input: no document to score"),
        (["q", "text", "--file", "x"], "", 2, "given twice"),
        (["q", "text", "--top", "0"], "", 2, "Invalid value for '--top'"),
        ([], "", 2, "QUERY"),
        (["q", "--file", "no-such-file"], "", 1, "no-such-file"),
    ],
)
def test_wrong_input(reranker: Path, arguments: list[str], given: str, code: int, message: str) -> None:
    result = zig_ai("rerank", "-m", reranker, *arguments, input=given)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())


def test_a_model_that_is_no_reranker_and_a_classifier_say_so(
    model: Path, reranker: Path, make_model: Callable[..., Path]
) -> None:
    wrong = zig_ai("rerank", "-m", model, "--backend", "numpy", "q", "d")
    assert (wrong.exit_code, "no output named scores" in wrong.stderr) == (1, True)
    assert "load a reranker" in wrong.stderr
    several = make_model("several.toy", architecture="toy-reranker", labels=3)
    wrong = zig_ai("rerank", "-m", several, "--backend", "numpy", "q", "d")
    assert (wrong.exit_code, "gives 3 scores for a text" in wrong.stderr) == (1, True)
    wrong = zig_ai("embed", "-m", reranker, "--backend", "numpy", "d")
    assert (wrong.exit_code, "it is a reranker" in wrong.stderr) == (1, True)
