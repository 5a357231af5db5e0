"""What a family's names say beyond names: sums, computed values, sections, variants, RoPE by kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors import SafetensorsFormat

Read = Callable[..., ModelDescriptor]
NORM = np.array([-0.5, 0, 0.25, 2], "<f4")


def scale(value: Any) -> dict[str, float]:
    if value == "odd":
        raise UnsupportedError("odd ones are not supported")
    return {"attention.scale": 1 / math.sqrt(value)}


@pytest.fixture
def load(folder: Any, make: Any, family: HuggingFaceNames, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Read a folder of the family with these changes of its names."""

    def read(
        changes: dict[str, Any], tensors: dict[str, Any] | None = None, **config: Any
    ) -> ModelDescriptor:
        names = dataclasses.replace(family, **changes)
        plugins = Plugins(huggingface={"toy": names})
        monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: plugins))
        path: Path = folder({**make.tensors, **(tensors or {})}, **config)
        return SafetensorsFormat().read(path)

    return read


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
def test_a_number_is_added_to_tensors_of_a_pattern_and_to_no_other(load: Read, dtype: str) -> None:
    names = {"tensors": {"model.norm.weight": "output_norm.weight", "model.up.weight": "blk.0.ffn_up.weight"}}
    stored = {"model.norm.weight": NORM.astype(dtype), "model.up.weight": np.ones((3, 4), "<f4")}
    model = load({**names, "added": {"*norm.weight": 1.0}}, stored)
    norm = model.tensors["output_norm.weight"]
    assert (norm.dtype.name, norm.shape) == ("F32", (4,))
    np.testing.assert_array_equal(norm.to_float32(), NORM + 1)
    np.testing.assert_array_equal(norm.rows_to_float32(np.array([0])), [NORM + 1])
    np.testing.assert_array_equal(model.tensors["blk.0.ffn_up.weight"].to_float32(), np.ones((3, 4)))
    assert norm.identity != model.tensors["blk.0.ffn_up.weight"].identity


def test_a_computed_value_replaces_that_of_a_key(load: Read) -> None:
    names = {"keys": {"num_hidden_layers": "block_count", "pattern": "p"}}
    changes = {**names, "computed": {"scalar": scale, "kinds": lambda kinds: {"p": len(kinds)}}}
    hp = load(changes, scalar=16, kinds=[1, 2], pattern=6).hyperparameters
    assert (hp["attention.scale"], hp["p"]) == (0.25, 2)
    assert "attention.scale" not in load(changes).hyperparameters


@pytest.mark.parametrize(
    ("value", "kind", "error"),
    [
        (-1, FormatError, r"config\.json: scalar is -1: "),
        ("x", FormatError, r"config\.json: scalar is 'x': must be real number"),
        (0, FormatError, r"config\.json: scalar is 0: "),
        ("odd", UnsupportedError, r"config\.json: scalar: odd ones are not supported"),
    ],
)
def test_a_value_that_cannot_be_computed_with_is_named(
    load: Read, value: Any, kind: type[Exception], error: str
) -> None:
    with pytest.raises(kind, match=error):
        load({"computed": {"scalar": scale}}, scalar=value)


def test_a_default_holds_for_a_missing_key_alone(load: Read) -> None:
    changes = {"defaults": {"hidden_size": 7, "rope_theta": 5e5}}
    assert load(changes, hidden_size=None).hyperparameters["embedding_length"] == 7
    assert load(changes).hyperparameters["embedding_length"] == 4
    assert load(changes).hyperparameters["rope.freq_base"] == 5e5


def test_the_settings_of_a_section_hold_with_those_beside_it(load: Read) -> None:
    inner = {"vocab_size": 8, "num_hidden_layers": 2, "model_type": "toy_text", "dropout": 1}
    changes = {"section": "text_config"}
    model = load(changes, text_config=inner, vocab_size=None, num_hidden_layers=None, dropout=2)
    assert model.hyperparameters["block_count"] == 2
    assert model.hyperparameters["embedding_length"] == 4  # beside it
    with pytest.raises(FormatError, match="'hidden_size' is 4, but 5 in text_config"):
        load(changes, text_config={**inner, "hidden_size": 5})
    with pytest.raises(FormatError, match="'tie_word_embeddings' is True, but False in text_config"):
        load(changes, text_config={**inner, "tie_word_embeddings": False}, tie_word_embeddings=True)
    with pytest.raises(FormatError, match="text_config is 3, but must be an object"):
        load(changes, text_config=3)
    with pytest.raises(FormatError, match="text_config is None, but must be an object"):
        load(changes)


def test_an_unknown_key_in_a_section_is_passed_on(load: Read) -> None:
    model = load({"section": "part"}, part={"strange": 3})
    assert model.hyperparameters["config.strange"] == 3


def test_a_key_that_is_true_chooses_other_names(load: Read, family: HuggingFaceNames) -> None:
    other = dataclasses.replace(
        family, architecture="other", required={**family.required, "special": (True,)}
    )
    changes = {"variants": {"special": other}, "required": {**family.required, "special": (None, False)}}
    assert load(changes, special=True).architecture == "other"
    assert load(changes, special=False).architecture == load(changes).architecture == "toy"
    with pytest.raises(UnsupportedError, match=r"special is .1., which toy does not support"):
        load(changes, special="1")


def test_unused_parts_are_left_out_and_told(load: Read, caplog: pytest.LogCaptureFixture) -> None:
    Plugins.installed()
    stored = {"eye.0.weight": NORM, "eye.1.weight": NORM}
    model = load({"unused": {"eye.*": f"no images {caplog}"}}, stored)
    assert not [name for name in model.tensors if name.startswith("eye")]
    assert [record.message for record in caplog.records] == [f"toy leaves out eye.*: no images {caplog}"]


def test_two_tensors_of_one_name_in_gguf_are_an_error(load: Read) -> None:
    names = {"a.weight": "output_norm.weight", "b.weight": "output_norm.weight"}
    with pytest.raises(
        FormatError, match=r"'output_norm\.weight' under two names, one of which is 'b\.weight'"
    ):
        load({"tensors": names}, {"a.weight": NORM, "b.weight": NORM})


def kinds(full: Any, sliding: Any) -> dict[str, Any]:
    return {"rope_parameters": {"full_attention": full, "sliding_attention": sliding}}


def test_rope_by_kind_of_layer_is_a_scaled_base_and_one_of_windows(load: Read) -> None:
    full = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
    hp = load({}, **kinds(full, {"rope_type": "default", "rope_theta": 5e3})).hyperparameters
    found = {key: value for key, value in hp.items() if key.startswith("rope.")}
    assert found == {
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 5e3,
        "rope.scaling.type": "linear",
        "rope.scaling.factor": 8.0,
    }


@pytest.mark.parametrize(
    ("given", "kind", "error"),
    [
        (
            kinds({}, {"rope_type": "linear", "factor": 2.0}),
            UnsupportedError,
            "rope_parameters.sliding_attention: rope_type 'linear' is not supported",
        ),
        (kinds({}, {"strange": 1}), UnsupportedError, "sliding_attention: strange 1 is not supported"),
        (kinds({}, 3), FormatError, "rope_parameters.sliding_attention is 3, but must be an object"),
        (kinds({}, {"rope_theta": -1}), FormatError, "sliding_attention.rope_theta is -1"),
        (
            {"rope_parameters": {"full_attention": {}, "chunked_attention": {}}},
            UnsupportedError,
            "settings of 'chunked_attention', which is not known",
        ),
        (
            kinds(
                {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 64,
                },
                {"rope_theta": 1e4},
            ),
            UnsupportedError,
            "llama3 is not supported for one kind of layers",
        ),
    ],
)
def test_rope_by_kind_of_layer_that_is_not_understood_is_refused(
    load: Read, given: Any, kind: type[Exception], error: str
) -> None:
    with pytest.raises(kind, match=error):
        load({}, num_attention_heads=2, **given)
