"""The example format passes the suite for formats and its own tests, and computes what a GGUF file does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from toy_model import write_toy

import zigai
from zigai_core.testing.toys import toy_decoder

FOLDER = Path(__file__).resolve().parent / "example-format"
SOURCE = FOLDER / "src" / "zigai_llama2c" / "__init__.py"


def imported(name: str, path: Path) -> ModuleType:
    """The module of a file, of this name for other modules, too."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


try:
    format: Any = importlib.import_module("zigai_llama2c")
except ModuleNotFoundError:
    format = imported("zigai_llama2c", SOURCE)
theirs: Any = imported("tests_of_zigai_llama2c", FOLDER / "tests" / "test_llama2c.py")
globals().update({name: test for name, test in vars(theirs).items() if name.startswith("test_")})


class TestNotInstalled(theirs.TestLlama2c):  # type: ignore[misc]
    entry_point = ""


@pytest.fixture(scope="module")
def plugins() -> zigai.Plugins:
    return zigai.Plugins.installed().extended(formats={"llama2c": format.Llama2cFormat})


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_those_of_the_same_weights_in_a_gguf_file(
    plugins: zigai.Plugins, tmp_path: Path, backend: str, tied: bool
) -> None:
    toy = toy_decoder(tied=tied)
    write_toy(tmp_path / "toy.gguf", toy)
    theirs.write(toy, tmp_path / "toy")
    ours = zigai.load(tmp_path / "toy.gguf", backend=backend)
    model = zigai.load(tmp_path / "toy.bin", backend=backend, plugins=plugins)
    assert sorted(model.graph.describe().splitlines()) == sorted(ours.graph.describe().splitlines())
    tokens = [1, 300, 5, 17, 300, 42]
    np.testing.assert_array_equal(model.logits(tokens), ours.logits(tokens))
    assert model.tokenizer.encode("t1 t2\n") == ours.tokenizer.encode("t1 t2\n")


def test_without_it_the_error_lists_the_installed_formats(tmp_path: Path) -> None:
    theirs.write(toy_decoder(), tmp_path / "toy")
    with pytest.raises(zigai.FormatError, match=r"not a model file of an installed format \(gguf, "):
        zigai.read(tmp_path / "toy.bin")
