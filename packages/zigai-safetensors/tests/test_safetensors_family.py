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
from zigai_core.contracts.errors import FormatError, PluginError, UnsupportedError
from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
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


def test_two_keys_of_one_setting_must_be_equal(load: Read, family: HuggingFaceNames) -> None:
    changes = {"keys": {**family.keys, "n_embd": "embedding_length"}, "defaults": {"hidden_size": 7}}
    assert load(changes, n_embd=4).hyperparameters["embedding_length"] == 4
    assert load(changes, hidden_size=None, n_embd=5).hyperparameters["embedding_length"] == 5
    with pytest.raises(
        FormatError, match=r"hidden_size is 4, but n_embd is 5, and both are \S+ embedding_length"
    ):
        load(changes, n_embd=5)


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


def test_a_section_may_be_missing_if_the_family_says_so(load: Read) -> None:
    changes = {"section": "text_config", "flat": True}
    assert load(changes).hyperparameters["embedding_length"] == 4
    model = load(changes, text_config={"hidden_size": 4}, hidden_size=None)
    assert model.hyperparameters["embedding_length"] == 4
    with pytest.raises(FormatError, match="text_config is 3, but must be an object"):
        load(changes, text_config=3)


def test_rope_by_sections_is_none_for_families_that_name_the_sections(load: Read) -> None:
    settings = {"type": "mrope", "mrope_section": [1, 1]}
    with pytest.raises(UnsupportedError, match=r"rope_scaling: the scaling of RoPE 'mrope' is not supported"):
        load({}, rope_scaling=settings)
    model = load({"keys_without_effect": {"mrope_section": "texts"}}, rope_scaling=settings, rope_theta=5e5)
    assert model.hyperparameters["rope.freq_base"] == 5e5
    assert "rope.scaling.type" not in model.hyperparameters


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


def test_a_key_with_a_value_chooses_other_names(load: Read, family: HuggingFaceNames) -> None:
    keys = {**family.keys, "experts": "expert_count"}
    other = dataclasses.replace(family, architecture="other", keys=keys)
    changes = {"keys": keys, "variants": {("experts", 0): other}, "defaults": {"experts": 8}}
    assert load(changes, experts=0).architecture == "other"
    for value in (1, False, 0.0):
        assert load(changes, experts=value).architecture == "toy"
    assert load(changes).architecture == load(changes, experts=None).architecture == "toy"


def test_a_class_that_is_named_first_has_other_names_and_its_own_variants(
    load: Read, family: HuggingFaceNames
) -> None:
    other = dataclasses.replace(family, architecture="other")
    third = dataclasses.replace(other, architecture="third")
    headed = dataclasses.replace(other, variants={"special": third}, required={})
    changes = {"classes": {"ToyForSequenceClassification": headed}}
    named = ["ToyForSequenceClassification", "ToyModel"]
    assert load(changes, architectures=named).architecture == "other"
    assert load(changes, architectures=named, special=True).architecture == "third"
    for classes in (["ToyModel"], named[::-1], [], None, "ToyForSequenceClassification", [3]):
        assert load(changes, architectures=classes).architecture == "toy"


def test_parts_that_are_not_supported_are_left_out_with_a_line_for_each_reason(
    load: Read, caplog: pytest.LogCaptureFixture
) -> None:
    why = f"no images {caplog}"  # each text is logged once in a process
    stored = dict.fromkeys(("eye.0.weight", "eye.1.weight", "ear.weight", "lens.weight"), NORM)
    patterns = {"eye.*": why, "lens.*": why, "ear.*": f"no sound {caplog}", "nose.*": why}
    model = load({"unsupported_tensors": patterns}, stored)
    assert list(model.tensors) == list(load({}).tensors)
    lines = [f"toy leaves out eye.*, lens.*: {why}", f"toy leaves out ear.*: no sound {caplog}"]
    assert [record.message for record in caplog.records] == lines


def test_a_pattern_leaves_out_no_tensor_that_the_family_names(load: Read) -> None:
    """GLM-4.5-Air has further layers from 46 on, and GLM-4.5 layers of its own."""
    changes = {
        "keys": {"num_hidden_layers": "block_count"},
        "tensors": {"m.{}.norm.weight": "blk.{}.norm.weight", "m.{}.experts.[].up": "blk.{}.up"},
        "parts": {"m.{}.down": [TensorPart("blk.{}.down", lambda a: a)]},
        "unsupported_tensors": dict.fromkeys(("m.1.*", "m.3.*"), "further layers"),
    }
    parts = ("norm.weight", "down", "experts.0.up")
    stored = {f"m.{layer}.{part}": NORM for layer in range(4) for part in parts}
    found = load(changes, stored, num_hidden_layers=3).tensors
    expected = {f"blk.{layer}.{part}" for layer in range(3) for part in ("norm.weight", "down", "up")}
    assert {name for name in found if name.startswith(("blk.", "m."))} == expected


def test_a_number_of_layers_that_no_model_has_is_refused_before_a_family_computes_with_it(load: Read) -> None:
    computed = {"num_hidden_layers": lambda layers: {"flags": [True] * layers}}
    changes = {"keys": {"num_hidden_layers": "block_count"}, "computed": computed}
    assert load(changes, num_hidden_layers=2).hyperparameters["flags"] == [True, True]
    with pytest.raises(FormatError, match=r"config\.json: the number of layers is 10000000000000"):
        load(changes, num_hidden_layers=10**13)


def test_a_tensor_under_the_name_in_gguf_of_one_of_the_family_is_refused(load: Read) -> None:
    names = {"tensors": {"model.a.weight": "mine.weight"}}
    with pytest.raises(FormatError, match=r"holds tensor 'mine\.bias', a name of GGUF"):
        load(names, {"mine.bias": NORM})
    assert "mine.bias" in load({}, {"mine.bias": NORM}).tensors
    assert "mine" in load(names, {"mine": NORM}).tensors


def test_a_value_is_computed_from_several_keys(load: Read) -> None:
    given: list[Any] = []

    def rotated(share: Any, width: Any) -> dict[str, Any]:
        given.append((share, width))
        return {"rope.dimension_count": int(share * width)}

    changes = {"computed": {("partial_rotary_factor", "head_dim"): rotated}}
    hp = load(changes, partial_rotary_factor=0.5, head_dim=8).hyperparameters
    assert hp["rope.dimension_count"] == 4
    assert [key for key in hp if key.startswith("config.")] == []
    inside = {"rope_parameters": {"partial_rotary_factor": 0.25}}
    assert load(changes, head_dim=8, **inside).hyperparameters["rope.dimension_count"] == 2
    load(changes)
    assert given == [(0.5, 8), (0.25, 8)]
    with pytest.raises(
        FormatError, match=r"partial_rotary_factor is 0\.5 and head_dim is None: unsupported op"
    ):
        load(changes, partial_rotary_factor=0.5)
    with pytest.raises(FormatError, match=r"partial_rotary_factor is 0\.5, but 0\.25 in rope_parameters"):
        load(changes, head_dim=8, partial_rotary_factor=0.5, **inside)
    with pytest.raises(UnsupportedError, match=r"rope_parameters\.'partial_rotary_factor' is not supported"):
        load({}, **inside)


def test_the_divisors_of_llama_3_are_those_of_the_rotated_elements(load: Read) -> None:
    scaled = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    changes = {"computed": {"partial_rotary_factor": lambda share: {"share": share}}}
    heads = {"num_attention_heads": 1, "head_dim": 32, "rope_scaling": scaled}
    half = load(changes, partial_rotary_factor=0.5, **heads).tensors["rope_freqs.weight"].to_float32()
    whole = load(changes, **{**heads, "head_dim": 16}).tensors["rope_freqs.weight"].to_float32()
    np.testing.assert_array_equal(half, whole)
    assert half.shape == (8,)


@pytest.mark.parametrize("error", [KeyError, AttributeError, IndexError, RuntimeError])
def test_a_function_that_fails_is_the_fault_of_its_package(load: Read, error: type[Exception]) -> None:
    def fails(value: Any) -> dict[str, Any]:
        raise error("boom")

    with pytest.raises(
        PluginError, match=rf"config\.json: scalar is 3: the package of toy .*{error.__name__}"
    ):
        load({"computed": {"scalar": fails}}, scalar=3)


@pytest.mark.parametrize("result", [None, 5, "ab", ["a"], {1: 2}])
def test_a_function_that_returns_no_mapping_is_the_fault_of_its_package(load: Read, result: Any) -> None:
    with pytest.raises(PluginError, match=r"config\.json: scalar is 3: .* are no hyperparameters by name"):
        load({"computed": {"scalar": lambda value: result}}, scalar=3)


def test_a_chosen_variant_has_its_own_defaults_and_section(load: Read, family: HuggingFaceNames) -> None:
    keys = {**family.keys, "special": "special", "size": "size"}
    other = dataclasses.replace(family, architecture="other", keys=keys, defaults={"size": 2}, section="own")
    third = dataclasses.replace(other, architecture="third", section=None)
    changes = {"keys": keys, "variants": {"special": other, "more": third}, "defaults": {"size": 1}}
    model = load(changes, special=True, own={"hidden_size": 4}, hidden_size=None)
    assert (model.architecture, model.hyperparameters["size"]) == ("other", 2)
    assert model.hyperparameters["embedding_length"] == 4
    assert load(changes).hyperparameters["size"] == 1
    section = {**changes, "section": "part"}
    assert load(section, part={"more": True}).architecture == "third"
    assert load({**changes, "defaults": {"more": True}}).architecture == "third"
    with pytest.raises(UnsupportedError, match=r"special is True and more is True; toy supports one"):
        load(changes, special=True, more=True)


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


def test_bases_of_rope_that_contradict_each_other_are_refused(load: Read, family: HuggingFaceNames) -> None:
    names = {
        "keys": {**family.keys, "rope_local_base_freq": "rope.freq_base_swa"},
        "defaults": {"rope_theta": 1e6},
    }

    def bases(**config: Any) -> tuple[Any, Any]:
        hp = load(names, **config).hyperparameters
        return hp.get("rope.freq_base"), hp.get("rope.freq_base_swa")

    both = kinds({"rope_theta": 3e5}, {"rope_theta": 5e3})
    assert bases() == (1e6, None)
    assert bases(**both) == (3e5, 5e3)  # the family's default does not contradict
    assert bases(rope_theta=300000, rope_local_base_freq=5e3, **both) == (3e5, 5e3)
    assert bases(rope_local_base_freq=5e3, **kinds({"rope_theta": 3e5}, {})) == (3e5, 5e3)
    with pytest.raises(FormatError, match=r"rope_theta is 5\.0, but 300000\.0 in rope_parameters\.full_att"):
        bases(rope_theta=5.0, **both)
    with pytest.raises(
        FormatError, match=r"rope_local_base_freq is 7\.0, but 5000\.0 in rope_parameters\.sl"
    ):
        bases(rope_local_base_freq=7.0, **both)
    with pytest.raises(FormatError, match=r"config\.json: rope_local_base_freq is 0, but must be above 0"):
        bases(rope_local_base_freq=0)


@pytest.mark.parametrize(
    ("given", "kind", "error"),
    [
        (
            kinds({"rope_theta": 1e4, "strange": 3}, {}),
            UnsupportedError,
            r"rope_parameters\.full_attention\.'strange' is not supported for default",
        ),
        (
            kinds({"rope_type": "linear"}, {}),
            FormatError,
            r"rope_parameters\.full_attention\.factor is None",
        ),
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


def test_pairs_of_rope_are_those_that_the_family_names(load: Read) -> None:
    assert load({}).conventions.rope_pairing == "half"
    assert load({"rope_pairing": "adjacent"}).conventions.rope_pairing == "adjacent"
