"""An oracle that llama.cpp cannot read needs a reason, as one of which it computes something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from zigai_core.testing.architecture import LlamaCppConformance, llama_cpp
from zigai_core.testing.oracles import Oracle

ORACLE = Oracle.load(sorted((Path(__file__).parent / "data" / "oracles").glob("*.npz"))[0])


def fails(*arguments: Any) -> None:
    raise RuntimeError("failed to load model")


def suite(reasons: dict[str, str]) -> LlamaCppConformance:
    class Suite(LlamaCppConformance):
        unlike_llama_cpp: ClassVar[dict[str, str]] = reasons
        write_gguf = staticmethod(lambda model, path: None)

    return Suite()


def test_a_file_that_llama_cpp_cannot_read_is_an_error_without_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(llama_cpp, "interpreter", lambda: "python")
    monkeypatch.setattr(llama_cpp, "outputs_of_llama_cpp", fails)
    test = "test_llama_cpp_computes_the_same_from_a_file"
    getattr(suite({ORACLE.model.name: "its sizes are fixed"}), test)(ORACLE, tmp_path)
    with pytest.raises(RuntimeError, match="failed to load model"):
        getattr(suite({"other": "its sizes are fixed"}), test)(ORACLE, tmp_path)
