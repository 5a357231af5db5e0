"""The suite against llama.cpp passes over a model that is refused only if it says that it is unlike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zigai_core.testing.architecture import LlamaCppConformance, llama_cpp

ORACLE: Any = SimpleNamespace(model=SimpleNamespace(name="mine"), outputs={"logits": None}, tokens=(1,))


class Suite(LlamaCppConformance):
    oracles = ()
    write_gguf = staticmethod(lambda model, path: None)


class Unlike(Suite):
    unlike_llama_cpp = {"mine": "it refuses biases"}


def run(suite: LlamaCppConformance, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError(error)

    monkeypatch.setattr(llama_cpp, "interpreter", lambda: "python")
    monkeypatch.setattr(llama_cpp, "outputs_of_llama_cpp", refuse)
    suite.test_llama_cpp_computes_the_same_from_a_file(ORACLE, Path())


def test_a_model_that_llama_cpp_refuses_is_unlike(monkeypatch: pytest.MonkeyPatch) -> None:
    run(Unlike(), "wrong number of tensors; llama_model_load: failed to load model", monkeypatch)
    with pytest.raises(RuntimeError, match="failed to load"):
        run(Suite(), "failed to load model", monkeypatch)


def test_another_failure_of_llama_cpp_is_one_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="no module"):
        run(Unlike(), "no module named llama_cpp", monkeypatch)
