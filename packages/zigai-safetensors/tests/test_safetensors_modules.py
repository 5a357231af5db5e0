"""modules.json of sentence-transformers: pooling, dense layers, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors import SafetensorsFormat

DENSE = np.arange(24, dtype="<f4").reshape(6, 4)
IDENTITY = {"activation_function": "torch.nn.modules.linear.Identity", "in_features": 4, "out_features": 6}
MEAN = {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def module(kind: str, path: str) -> dict[str, Any]:
    return {"idx": 0, "name": "0", "path": path, "type": f"sentence_transformers.models.{kind}"}


USUAL = [module("Transformer", ""), module("Pooling", "1_Pooling"), module("Dense", "2_Dense")]


@pytest.fixture
def model(folder: Any, make: Any, family: HuggingFaceNames, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read a folder with these modules, and these settings of its pooling and its dense layer."""
    names = dataclasses.replace(family, tensors={**family.tensors, "2_Dense.linear.weight": "dense_2.weight"})
    plugins = Plugins(huggingface={"toy": names})
    monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: plugins))

    def read(
        modules: Any = USUAL, pooling: Any = MEAN, dense: Any = IDENTITY, weights: Any = None
    ) -> ModelDescriptor:
        path: Path = folder()
        for name, settings in (("1_Pooling", pooling), ("2_Dense", dense)):
            (path / name).mkdir(exist_ok=True)
            (path / name / "config.json").write_text(json.dumps(settings))
        tensors = {"linear.weight": DENSE} if weights is None else weights
        if tensors:
            (path / "2_Dense" / "model.safetensors").write_bytes(make.shard(*make.entries(tensors)))
        (path / "modules.json").write_text(modules if isinstance(modules, str) else json.dumps(modules))
        return SafetensorsFormat().read(path)

    return read


def test_a_dense_layer_is_a_tensor_with_its_sizes_and_the_pooling_a_number_of_gguf(model: Any) -> None:
    found = model([*USUAL, module("Normalize", "3_Normalize")])
    np.testing.assert_array_equal(found.tensors["dense_2.weight"].to_float32(), DENSE)
    hp = found.hyperparameters
    assert [hp[key] for key in ("pooling_type", "dense_2_feat_in", "dense_2_feat_out")] == [1, 4, 6]
    assert [file.parent.name for file in found.files][1:] == ["2_Dense"]


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, 2),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, 3),
        ({"pooling_mode": "mean", "pooling_mode_cls_token": True}, 1),
    ],
)
def test_every_pooling_of_gguf_is_read(model: Any, settings: dict[str, Any], number: int) -> None:
    assert model(pooling=settings).hyperparameters["pooling_type"] == number


def test_a_bias_that_the_family_does_not_name_keeps_its_name(model: Any) -> None:
    weights = {"linear.weight": DENSE, "linear.bias": np.ones(6, "<f4")}
    assert "2_Dense.linear.bias" in model(weights=weights).tensors


@pytest.mark.parametrize(
    ("changes", "kind", "error"),
    [
        (
            {"pooling": {"pooling_mode_max_tokens": True}},
            UnsupportedError,
            r"1_Pooling/config\.json: the pooling \['pooling_mode_max_tokens'\] is not supported",
        ),
        (
            {"pooling": {**MEAN, "pooling_mode_cls_token": True}},
            UnsupportedError,
            "is not supported; mean, cls, lasttoken are, one at a time",
        ),
        ({"pooling": {}}, UnsupportedError, r"the pooling \[\] is not supported"),
        ({"pooling": {"pooling_mode": ["mean"]}}, UnsupportedError, r"the pooling \['mean'\] is not"),
        ({"pooling": {**MEAN, "include_prompt": False}}, UnsupportedError, "include_prompt is False"),
        (
            {"dense": {"activation_function": "torch.nn.modules.activation.Tanh"}},
            UnsupportedError,
            r"2_Dense/config\.json: activation_function is 'torch.nn.modules.activation.Tanh'",
        ),
        ({"dense": {}}, UnsupportedError, "activation_function is 'torch.nn.modules.activation.Tanh'"),
        ({"weights": {}}, FormatError, r"2_Dense: holds no model\.safetensors"),
        (
            {"modules": [*USUAL, module("LSTM", "3_LSTM")]},
            UnsupportedError,
            r"modules\.json: a module 'sentence_transformers\.models\.LSTM' is not supported",
        ),
        ({"modules": "{"}, FormatError, r"modules\.json: is not JSON"),
        ({"modules": "[" * 60000}, FormatError, r"modules\.json: is not JSON"),
        ({"modules": " " * (1 << 17)}, FormatError, "at most 65536 are read"),
        ({"modules": {}}, FormatError, r"modules\.json: is not an array"),
        ({"modules": [3]}, FormatError, "3 is not a module"),
        ({"modules": [module("Dense", "..")]}, FormatError, "is not a module with a type and the name of"),
        ({"modules": [module("Dense", "/etc")]}, FormatError, "is not a module with a type and the name of"),
        ({"modules": [{"type": "a.Dense"}]}, FormatError, "is not a module with a type and the name of"),
    ],
)
def test_what_is_not_understood_or_damaged_is_named(
    model: Any, changes: dict[str, Any], kind: type[Exception], error: str
) -> None:
    with pytest.raises(kind, match=error):
        model(**changes)
