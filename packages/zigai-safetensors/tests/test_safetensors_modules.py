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
IDENTITY = {
    "activation_function": "torch.nn.modules.linear.Identity",
    "in_features": 4,
    "out_features": 6,
    "bias": False,
}
MEAN = {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def module(kind: str, path: str) -> dict[str, Any]:
    return {"idx": 0, "name": "0", "path": path, "type": f"sentence_transformers.models.{kind}"}


USUAL = [module("Transformer", ""), module("Pooling", "1_Pooling"), module("Dense", "2_Dense")]


@pytest.fixture
def model(folder: Any, make: Any, family: HuggingFaceNames, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read a folder with these modules, and these settings of its pooling and its dense layer."""
    dense = {f"{number}_Dense.linear.weight": f"dense_{number}.weight" for number in (2, 3)}
    names = dataclasses.replace(
        family,
        tensors={**family.tensors, **dense},
        keys={**family.keys, "max_position_embeddings": "context_length"},
    )
    plugins = Plugins(huggingface={"toy": names})
    monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: plugins))

    def read(
        modules: Any = USUAL,
        pooling: Any = MEAN,
        dense: Any = IDENTITY,
        weights: Any = None,
        texts: Any = None,
        whole: Any = None,
        more: Any = None,
    ) -> ModelDescriptor:
        path: Path = folder({**make.tensors, **(more or {})}, max_position_embeddings=64)
        for name, settings in (
            ("sentence_bert_config.json", texts),
            ("config_sentence_transformers.json", whole),
        ):
            (path / name).write_text(json.dumps(settings or {}))
        for name, settings in (("1_Pooling", pooling), ("2_Dense", dense)):
            (path / name).mkdir(exist_ok=True)
            (path / name / "config.json").write_text(json.dumps(settings))
        tensors = {"linear.weight": DENSE} if weights is None else weights
        if tensors:
            (path / "2_Dense" / "model.safetensors").write_bytes(make.shard(*make.entries(tensors)))
        if modules is not None:
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


def test_the_types_of_newer_versions_are_read(model: Any) -> None:
    package = "sentence_transformers"
    types = (
        f"{package}.base.modules.transformer.Transformer",
        f"{package}.sentence_transformer.modules.pooling.Pooling",
        f"{package}.base.modules.dense.Dense",
        f"{package}.base.modules.normalize.Normalize",
    )
    paths = ("", "1_Pooling", "2_Dense", "3_Normalize")
    modules = [{"type": kind, "path": path} for kind, path in zip(types, paths, strict=True)]
    settings = {"pooling_mode": "mean", "embedding_dimension": 4}
    assert model(modules=modules, pooling=settings).hyperparameters["pooling_type"] == 1


@pytest.mark.parametrize("modules", [USUAL, USUAL[:2]])
@pytest.mark.parametrize("name", ["2_Dense.linear.weight", "3_Dense.linear.weight"])
def test_weights_under_the_name_of_a_dense_layer_are_refused(model: Any, modules: Any, name: str) -> None:
    with pytest.raises(FormatError, match=f"the weights hold tensor '{name}', a name for what modules"):
        model(modules=modules, more={name: DENSE})


def test_weights_under_the_name_of_another_tensor_of_a_module_are_refused(model: Any) -> None:
    weights = {"linear.weight": DENSE, "x": DENSE}
    with pytest.raises(FormatError, match=r"the weights hold tensor '2_Dense\.x'"):
        model(weights=weights, more={"2_Dense.x": DENSE})


def test_what_the_library_does_to_texts_and_is_left_to_the_caller_is_a_warning(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = {"prompts": {"document": "title: ", "none": ""}, "default_prompt_name": "document"}
    model(texts={"max_seq_length": 32, "do_lower_case": False}, whole=prompts)
    cut, prompt = [record.getMessage() for record in caplog.records]
    assert "sentence_bert_config.json: max_seq_length is 32: sentence-transformers cuts longer" in cut
    assert "config_sentence_transformers.json: default_prompt_name is 'document'" in prompt
    assert "puts 'title: ' before each text" in prompt
    caplog.clear()
    model(texts={"max_seq_length": 64}, whole={**prompts, "default_prompt_name": "none"})
    model(texts={"max_seq_length": None}, whole={**prompts, "default_prompt_name": None})
    assert caplog.records == []


def test_a_folder_without_its_modules_is_read_with_a_warning(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert "pooling_type" not in model(modules=None, texts={"do_lower_case": True}).hyperparameters
    assert "has no modules.json, so an embedding is the state of the last token" in caplog.text


def test_a_bias_that_the_family_does_not_name_keeps_its_name(model: Any) -> None:
    weights = {"linear.weight": DENSE, "linear.bias": np.ones(6, "<f4")}
    assert "2_Dense.linear.bias" in model(weights=weights, dense={**IDENTITY, "bias": True}).tensors


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
            r"modules\.json: module 3: the type 'sentence_transformers\.models\.LSTM' is not supported",
        ),
        (
            {"modules": [USUAL[0], {"type": "other.models.Pooling", "path": "1_Pooling"}]},
            UnsupportedError,
            r"modules\.json: module 1: the type 'other\.models\.Pooling' is not supported",
        ),
        ({"modules": []}, UnsupportedError, "module 0 is missing, which is not supported: a Transformer"),
        ({"modules": USUAL[:1]}, UnsupportedError, "module 1 is missing"),
        ({"modules": USUAL[1:]}, UnsupportedError, "module 0 is a Pooling, which is not supported"),
        ({"modules": [USUAL[0], USUAL[2], USUAL[1]]}, UnsupportedError, "module 1 is a Dense"),
        ({"modules": [USUAL[0], USUAL[2]]}, UnsupportedError, "module 1 is a Dense"),
        ({"modules": [*USUAL[:2], module("Pooling", "x")]}, UnsupportedError, "module 2 is a Pooling"),
        (
            {"modules": [*USUAL[:2], module("Normalize", "2_N"), module("Dense", "2_Dense")]},
            UnsupportedError,
            "module 2 is a Normalize",
        ),
        (
            {"modules": [*USUAL, module("Normalize", "3_N"), module("Normalize", "4_N")]},
            UnsupportedError,
            "module 4 is a Normalize",
        ),
        (
            {"modules": [module("Transformer", "0_Transformer"), *USUAL[1:]]},
            UnsupportedError,
            "module 0: a Transformer in '0_Transformer' is not supported: the model alone is in the folder",
        ),
        (
            {"modules": [USUAL[0], module("Pooling", "")]},
            UnsupportedError,
            "a Pooling in '' is not supported",
        ),
        (
            {"modules": [*USUAL[:2], module("Dense", "1_Pooling")]},
            UnsupportedError,
            "module 2: a Dense in '1_Pooling' is not supported: another module is in it",
        ),
        (
            {"modules": [*USUAL, USUAL[2]]},
            UnsupportedError,
            "module 3: a Dense in '2_Dense' is not supported",
        ),
        (
            {"modules": [*USUAL, module("Dense", "3_Dense"), module("Dense", "x")]},
            UnsupportedError,
            "a Dense in 'x' is not supported: of dense layers, toy has them in 2_Dense, 3_Dense, in",
        ),
        (
            {"modules": [*USUAL[:2], module("Dense", "3_Dense"), USUAL[2]]},
            UnsupportedError,
            "module 3: a Dense in '2_Dense' is not supported: of dense layers, toy has them in 2_Dense, 3_",
        ),
        (
            {"modules": [USUAL[0], module("Pooling", "a" * 256)]},
            FormatError,
            "module 1: the path 'a+…a+' is t",
        ),
        ({"pooling": {"pooling_mode_mean_tokens": "false"}}, FormatError, "is 'false', but must be true or"),
        (
            {"pooling": {**MEAN, "word_embedding_dimension": 7}},
            FormatError,
            r"1_Pooling/config\.json: word_embedding_dimension is 7, but the model's states are 4 wide",
        ),
        ({"pooling": {**MEAN, "embedding_dimension": 4.5}}, FormatError, "embedding_dimension is 4.5, but"),
        ({"weights": {"x": DENSE}}, FormatError, r"model\.safetensors: holds no tensor linear\.weight"),
        (
            {"weights": {"linear.weight": DENSE[0]}},
            FormatError,
            r"linear\.weight of shape \(4,\), but a dense",
        ),
        (
            {"dense": {**IDENTITY, "in_features": 5}},
            FormatError,
            r"2_Dense/config\.json: in_features is 5, but 4 by model\.safetensors",
        ),
        ({"dense": {**IDENTITY, "out_features": 5}}, FormatError, "out_features is 5, but 6 by"),
        ({"dense": {**IDENTITY, "bias": True}}, FormatError, "bias is True, but False by"),
        ({"dense": {**IDENTITY, "bias": 0}}, FormatError, "bias is 0, but False by"),
        (
            {"weights": {"linear.weight": DENSE, "linear.bias": DENSE[:, 0]}},
            FormatError,
            "bias is False, but True by",
        ),
        (
            {"dense": {**IDENTITY, "use_residual": True}},
            UnsupportedError,
            "use_residual is True, which is not",
        ),
        (
            {"dense": {**IDENTITY, "module_output_name": "other"}},
            UnsupportedError,
            "module_output_name is 'other', which is not supported; 'sentence_embedding' is",
        ),
        ({"texts": {"do_lower_case": True}}, UnsupportedError, r"bert_config\.json: do_lower_case is True"),
        ({"texts": {"do_lower_case": "false"}}, FormatError, "do_lower_case is 'false', but must be true or"),
        (
            {"texts": {"max_seq_length": "9"}},
            FormatError,
            "max_seq_length is '9', but must be a whole number",
        ),
        (
            {"whole": {"default_prompt_name": "x", "prompts": {}}},
            FormatError,
            "'x', which is no text in prom",
        ),
        (
            {"whole": {"default_prompt_name": ["x"]}},
            FormatError,
            r"default_prompt_name is \['x'\], which is no",
        ),
        ({"modules": "{"}, FormatError, r"modules\.json: is not JSON"),
        ({"modules": "[" * 60000}, FormatError, r"modules\.json: values are nested too deeply"),
        (
            {"modules": "[" * 800 + "1" + "]" * 800},
            FormatError,
            r"modules\.json: values are nested too deeply",
        ),
        ({"modules": '[{"type": "x", "path": "", "type": "y"}]'}, FormatError, "json: holds 'type' twice"),
        ({"modules": " " * (1 << 17)}, FormatError, "at most 65536 are read"),
        ({"modules": {}}, FormatError, r"modules\.json: is not an array"),
        ({"modules": [3]}, FormatError, "module 0: 3 is not a type"),
        ({"modules": [module("Dense", "..")]}, FormatError, "is not a type and the name of a folder"),
        ({"modules": [module("Dense", "/etc")]}, FormatError, "is not a type and the name of a folder"),
        ({"modules": [{"type": "a.Dense"}]}, FormatError, "is not a type and the name of a folder"),
    ],
)
def test_what_is_not_understood_or_damaged_is_named(
    model: Any, changes: dict[str, Any], kind: type[Exception], error: str
) -> None:
    with pytest.raises(kind, match=error):
        model(**changes)
