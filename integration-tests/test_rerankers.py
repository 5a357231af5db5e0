"""Folders of rerankers, and GGUF files of them, have the scores that transformers computes for pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reranker_folders import DOCUMENTS, MODELS, QUERY, write

import zigai
from zigai_core.api.reading import read
from zigai_core.engine.request import Request
from zigai_core.testing.architecture.llama_cpp_runner import interpreter, outputs_of_llama_cpp
from zigai_gguf.convert import convert

RECORDED: dict[str, Any] = json.loads(
    Path(__file__).with_name("oracle").joinpath("rerankers.json").read_text(encoding="utf-8")
)


def scores(name: str) -> list[float]:
    return [row["score"] for row in RECORDED[name]]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_documents_have_the_scores_of_transformers_in_a_folder_and_in_a_file(
    name: str, backend: str, tmp_path: Path
) -> None:
    folder = write(name, tmp_path)
    convert(read(folder), tmp_path / "model.gguf")
    for path in (folder, tmp_path / "model.gguf"):
        with zigai.load(path, backend=backend) as model:
            found = model.rerank(QUERY, DOCUMENTS)
            np.testing.assert_allclose(found, scores(name), rtol=0, atol=1e-3)
            again = model.rerank(QUERY, DOCUMENTS[::-1])[::-1]
            np.testing.assert_allclose(again, found, rtol=0, atol=1e-6)
    assert np.ptp(scores(name)) > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_pairs_are_the_tokens_and_types_of_transformers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Request] = []
    with zigai.load(write(name, tmp_path), backend="numpy") as model:
        submit = model.engine.submit

        def watched(request: Request) -> Any:
            seen.append(request)
            return submit(request)

        monkeypatch.setattr(model.engine, "submit", watched)
        model.rerank(QUERY, DOCUMENTS)
    given = [[*request.prompt] for request in seen]
    assert given == [row["ids"] for row in RECORDED[name]]
    types = [[0] * len(each.prompt) if each.types is None else [*each.types] for each in seen]
    assert types == [row["types"] for row in RECORDED[name]]


@pytest.mark.parametrize("name", ["roberta", "xlm-roberta"])
def test_llama_cpp_computes_the_same_from_the_file(name: str, tmp_path: Path) -> None:
    """Of texts of one type; BERT's have two, which llama.cpp does not tell apart."""
    if interpreter() is None:
        pytest.skip("llama-cpp-python is not installed")
    convert(read(write(name, tmp_path)), tmp_path / "model.gguf")
    row = RECORDED[name][3]
    found = outputs_of_llama_cpp(tmp_path / "model.gguf", row["ids"], "scores")
    np.testing.assert_allclose(found, [[row["score"]]], rtol=0, atol=5e-3)


def test_a_reranker_embeds_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    with zigai.load(write("bert", tmp_path), backend="numpy") as model:
        with pytest.raises(zigai.UnsupportedError, match=r"it is a reranker.*use rerank\(\)"):
            model.embed("a text")
        assert model.descriptor.hyperparameters["classifier.output_labels"] == ["LABEL_0"]
