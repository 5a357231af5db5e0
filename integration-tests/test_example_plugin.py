"""The example architecture in the documentation is this tested one, and computes what a built-in one does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import zigai
from zigai_cli.new.decoder import decoder_files
from zigai_cli.new.naming import PackageName
from zigai_core.api.loading import assemble, build
from zigai_core.contracts.plugins import Architecture
from zigai_core.testing.toys import toy_decoder

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "integration-tests" / "example-plugin" / "src" / "zigai_example" / "__init__.py"


@pytest.fixture(scope="module")
def example() -> Architecture:
    spec = importlib.util.spec_from_file_location("zigai_example", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.example


@pytest.fixture(scope="module")
def plugins(example: Architecture) -> zigai.Plugins:
    return zigai.Plugins.installed().extended(architectures={"example": example})


def test_the_page_shows_the_source_unchanged() -> None:
    page = (ROOT / "docs" / "write-an-architecture.md").read_text(encoding="utf-8")
    folder = ROOT / "integration-tests" / "example-plugin"
    for path in (SOURCE, folder / "pyproject.toml"):
        assert path.read_text(encoding="utf-8").strip() in page, (
            f"docs/write-an-architecture.md: {path.name} differs"
        )


def test_the_generator_writes_the_same_code() -> None:
    files = decoder_files(PackageName("example"), "example")
    assert files["src/zigai_example/__init__.py"] == SOURCE.read_text(encoding="utf-8")


def test_it_fits_one_page() -> None:
    assert len(SOURCE.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_it_computes_the_same_as_the_equal_graph_of_zigai_qwen(
    plugins: zigai.Plugins, make_toy: Callable[..., Path], backend: str
) -> None:
    theirs = make_toy("--architecture", "example")
    ours = zigai.load(make_toy("--architecture", "qwen2"), backend=backend)
    model = zigai.load(theirs, backend=backend, plugins=plugins)
    assert sorted(model.graph.describe().splitlines()) == sorted(ours.graph.describe().splitlines())
    tokens = [1, 300, 5, 17, 300, 42]
    np.testing.assert_array_equal(model.logits(tokens), ours.logits(tokens))


def test_of_a_head_only_the_elements_that_the_file_says_are_rotated(plugins: zigai.Plugins) -> None:
    def logits(architecture: str, rotated: int) -> np.ndarray:
        model = toy_decoder(architecture, pairing="half", rope__dimension_count=rotated)
        return assemble(model, plugins=plugins).logits([1, 300, 5, 17, 300, 42])

    whole, half = logits("example", 16), logits("example", 8)
    np.testing.assert_array_equal(half, logits("qwen2", 8))
    assert np.abs(half - whole)[1:].max() > 0.01
    for wrong in (0, 7, 18):
        with pytest.raises(zigai.FormatError, match=f"dimension_count is {wrong}"):
            logits("example", wrong)


def test_without_it_the_error_names_the_architecture_and_the_installed_ones(
    make_toy: Callable[..., Path],
) -> None:
    theirs = make_toy("--architecture", "example")
    with pytest.raises(zigai.UnsupportedError, match=r"'example'.*installed: .*llama"):
        zigai.load(theirs)


def test_a_missing_weight_is_named_before_anything_is_computed(
    plugins: zigai.Plugins, make_toy: Callable[..., Path]
) -> None:
    from dataclasses import replace

    descriptor = zigai.read(make_toy("--architecture", "example"))
    tensors = {name: t for name, t in descriptor.tensors.items() if name != "blk.1.ffn_up.weight"}
    with pytest.raises(zigai.ShapeError, match=r"blk\.1\.ffn_up\.weight"):
        build(replace(descriptor, tensors=tensors), context=64, plugins=plugins)
