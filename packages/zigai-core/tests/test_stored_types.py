"""Storage types that core lacks: a package registers the dequantiser, a format knows the layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from zigai_core.api.loading import load, read
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import PluginError, UnsupportedError
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

PLAIN = toy_decoder()
NAME = "output.weight"


def halves() -> DType:
    """Float16, under a name that core does not have."""
    return DType("HALF", 1, 2, DTYPES["F16"].dequantize)


def stored() -> ModelDescriptor:
    tensor = PLAIN.tensors[NAME]
    data = tensor.to_float32().astype("<f2").view(np.uint8).reshape(-1)
    odd = dataclasses.replace(tensor, dtype=DType("HALF", 1, 2, None), data=data)
    return dataclasses.replace(PLAIN, tensors={**PLAIN.tensors, NAME: odd})


class Reader:
    def recognises(self, path: Path) -> bool:
        return True

    def read(self, path: Path) -> ModelDescriptor:
        return stored()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "model").write_bytes(b"toy")
    return tmp_path / "model"


def plugins(**dtypes: object) -> Plugins:
    return Plugins(
        formats={"toy": Reader},
        architectures={"llama": decoder},
        backends={"numpy": NumpyBackend},
        tokenizers={"llama": ByteTokenizer},
        dtypes=dtypes,  # type: ignore[arg-type]
    )


def test_without_the_package_an_error_names_the_type_and_the_tensor(path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"dequantise HALF \(output\.weight\)"):
        load(path, plugins=plugins())
    with pytest.raises(UnsupportedError, match=r"tensor type HALF;.*zigai\.dtypes"):
        read(path, plugins=plugins()).tensors[NAME].to_float32()


def test_with_the_package_the_model_runs(path: Path) -> None:
    model = load(path, plugins=plugins(HALF=halves))
    assert np.all(np.isfinite(model.logits([1, 2, 3])))
    found = read(path, plugins=plugins(HALF=halves)).tensors[NAME].to_float32()
    np.testing.assert_allclose(found, PLAIN.tensors[NAME].to_float32(), atol=1e-3)


def test_a_registered_type_that_no_tensor_has_is_not_constructed(path: Path) -> None:
    def broken() -> DType:
        raise AssertionError

    assert read(path, plugins=plugins(OTHER=broken)).tensors[NAME].dtype.dequantize is None


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (DType("HALF", 1, 4, DTYPES["F32"].dequantize), "has blocks of"),
        (DType("OTHER", 1, 2, DTYPES["F16"].dequantize), "has blocks of"),
        (DType("HALF", 1, 2, None), "must be a DType with a dequantiser"),
        ("HALF", "must be a DType with a dequantiser"),
    ],
)
def test_a_registered_type_with_another_name_or_layout_is_refused(
    path: Path, made: object, what: str
) -> None:
    with pytest.raises(PluginError, match=f"storage type HALF of a package {what}"):
        read(path, plugins=plugins(HALF=lambda: made))


def test_a_type_with_the_name_of_one_of_core_is_reported_and_not_used(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PluginError, match="must be a DType"):  # of HALF: reading goes on
        read(path, plugins=plugins(F16=halves, HALF=lambda: "HALF"))
    assert "the storage type F16 is core's own, which a package cannot replace" in caplog.text
