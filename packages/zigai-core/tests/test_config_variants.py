"""A family that reads a setting otherwise than the models' own implementation is found, by the setting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import PluginError, UnsupportedError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.ops.blocks import decoder
from zigai_core.testing.oracles import Oracle
from zigai_core.testing.oracles.config_variants import ABSENT, Variant, check_settings, variants
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights

ORACLE = Oracle.load(Path(__file__).parent / "data" / "oracles" / "window.npz")
DEFAULTS = {"window": 5, "epsilon": 0.01, "activation": "silu", "dropout": 0.0, "heads": None}
"""Of the other implementation: its settings, of which `heads` are by default as many as `hidden` / 8."""

SOUND = HuggingFaceNames(
    "llama",
    {},
    {"window": "attention.sliding_window", "epsilon": "attention.layer_norm_rms_epsilon"},
    required={"activation": ("silu", "swish")},
    keys_without_effect={"dropout": "for training"},
    defaults={"window": 5, "epsilon": 0.01},
)


def graph_of(window: int | None, epsilon: float, activation: str = "silu") -> Graph:
    hp = ORACLE.model.hyperparameters.replaced(attention__layer_norm_rms_epsilon=epsilon)
    model = replace(ORACLE.model, hyperparameters=hp)
    return decoder(
        model, context=128, window=window, activation="silu" if activation == "swish" else activation
    )


def outputs_of(graph: Graph) -> Mapping[str, Array]:
    return Evaluation(graph, float_weights(graph, ORACLE.model.tensors), ORACLE.tokens).outputs()


class Implementation:
    """Stands for transformers: a folder, and what it computes of the folder."""

    text = ORACLE.tokens
    types = ()

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        path.joinpath("config.json").write_text(json.dumps(config))
        self.network = SimpleNamespace(config=self.config_of(config))

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.joinpath("config.json").read_text())
        return found

    def config_of(self, config: Mapping[str, Any]) -> Any:
        values = {**DEFAULTS, **config}
        values["heads"] = values["heads"] or 4
        found = SimpleNamespace(**values, to_dict=lambda: values)
        found.get_text_config = lambda: found
        return found

    def like(self, path: Path, config: Mapping[str, Any], largest: int) -> Implementation | None:
        assert largest > 1 << 20
        return Implementation(path, config)

    def outputs(self) -> Mapping[str, Array]:
        values = self.network.config
        if values.activation == "swish" and values.epsilon == DEFAULTS["epsilon"]:
            raise ValueError("refused")
        scaled = 1 + values.dropout * getattr(values, "noise", 0)
        found = outputs_of(graph_of(values.window, values.epsilon, values.activation))
        return {name: rows * scaled for name, rows in found.items()}


class Reader:
    """A format of folders, which translates settings by the names of a family."""

    def __init__(self, names: HuggingFaceNames) -> None:
        self.names = names

    def recognises(self, path: Path) -> bool:
        return path.joinpath("config.json").exists()

    def read(self, path: Path) -> ModelDescriptor:
        config = {**self.names.defaults, **json.loads(path.joinpath("config.json").read_text())}
        for key, allowed in self.names.required.items():
            if config.get(key, allowed[0]) not in allowed:
                raise UnsupportedError(f"{key} is {config[key]}")
        values = {ours: config[key] for key, ours in self.names.keys.items() if key in config}
        lacking = {*self.names.keys.values()} - {*values}
        kept = {key: value for key, value in ORACLE.model.hyperparameters.items() if key not in lacking}
        hp = type(ORACLE.model.hyperparameters)({**kept, **values}, prefix="llama")
        return replace(ORACLE.model, hyperparameters=hp)


def architecture(model: ModelDescriptor, *, context: int) -> Graph:
    window = model.hyperparameters.integer("attention.sliding_window", 0) or None
    return decoder(model, context=context, window=window)


CONFIG = {"window": 7, "epsilon": 0.02, "hidden": 32, "activation": "silu"}


def check(folder: Path, names: HuggingFaceNames, config: Mapping[str, Any] = CONFIG) -> str | None:
    tiny: Any = Implementation(folder, config)
    plugins = Plugins.installed().extended(
        formats={"toy": lambda: Reader(names)}, architectures={"llama": architecture}
    )
    return check_settings(tiny, names, tiny.outputs(), plugins)


def test_a_family_that_reads_settings_as_others_do_passes(tmp_path: Path) -> None:
    assert check(tmp_path, SOUND) is None


def test_a_default_that_does_not_fit_the_other_settings_is_left_to_folders_that_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of `hidden_size`, of which the length of RoPE's factors follows."""

    def config_of(self: Implementation, config: Mapping[str, Any]) -> Any:
        if "window" not in config:
            raise ValueError("the default of the window does not fit")
        return original(self, config)

    original = Implementation.config_of
    monkeypatch.setattr(Implementation, "config_of", config_of)
    assert check(tmp_path, replace(SOUND, defaults={"window": 6, "epsilon": 0.01})) is None
    with pytest.raises(UnsupportedError, match=r"the default of epsilon is 0\.01 in transformers, not 0\.02"):
        check(tmp_path, replace(SOUND, defaults={"window": 6, "epsilon": 0.02}))


def test_a_default_that_the_other_implementation_refuses_is_not_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config_of(self: Implementation, config: Mapping[str, Any]) -> Any:
        if config.get("window") == 6:
            raise ValueError("refused")
        return original(self, config)

    original = Implementation.config_of
    monkeypatch.setattr(Implementation, "config_of", config_of)
    with pytest.raises(UnsupportedError, match="the default of window is 5 in transformers, not 6"):
        check(tmp_path, replace(SOUND, defaults={"window": 6, "epsilon": 0.01}))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            replace(SOUND, defaults={"window": 6, "epsilon": 0.01}),
            "the default of window is 5 in transformers, not 6",
        ),
        (
            replace(SOUND, defaults={**SOUND.defaults, "heads": 32}),
            "the default of heads is 4 in transformers, not 32",
        ),
        (
            replace(SOUND, defaults={"epsilon": 0.01}),
            "without window in config.json the outputs differ by .* a key that is missing",
        ),
        (
            replace(SOUND, required={"activation": ("silu", "gelu_tanh")}),
            "with activation='gelu_tanh' in config.json the outputs differ by .* accepts 'gelu_tanh'",
        ),
        (
            replace(SOUND, keys={"window": SOUND.keys["window"]}, keys_without_effect={"epsilon": "small"}),
            "the settings were not compared",
        ),
    ],
)  # fmt: skip
def test_a_setting_that_is_read_otherwise_is_named(
    names: HuggingFaceNames, message: str, tmp_path: Path
) -> None:
    if message.startswith("the settings"):
        found = check(tmp_path, names)
        assert found is not None
        assert message in found
        return
    with pytest.raises(UnsupportedError, match=message):
        check(tmp_path, names)


def test_a_number_that_is_said_to_have_no_effect_is_tried_with_others(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"with dropout=1\.0 in config\.json .*has no effect"):
        check(tmp_path, SOUND, {**CONFIG, "dropout": 0.0, "noise": 1.0})


@pytest.mark.parametrize(
    ("longest", "message"), [(128, None), (127, "length of the longest"), (129, "length")]
)
def test_a_context_that_a_family_computes_is_that_of_the_longest_text(
    longest: int, message: str | None, tmp_path: Path
) -> None:
    names = replace(SOUND, computed={"max_position_embeddings": lambda value: {"context_length": value - 2}})
    tiny: Any = Implementation(tmp_path, {**CONFIG, "max_position_embeddings": 130})
    tiny.computes = lambda length: length <= longest
    plugins = Plugins.installed().extended(
        formats={"toy": lambda: Reader(names)}, architectures={"llama": architecture}
    )
    if message is None:
        assert ORACLE.model.hyperparameters["context_length"] == 128
        assert check_settings(tiny, names, tiny.outputs(), plugins) is None
        return
    with pytest.raises(UnsupportedError, match=message):
        check_settings(tiny, names, tiny.outputs(), plugins)


def test_a_family_that_fails_with_a_variant_fails_the_check(tmp_path: Path) -> None:
    class Fragile(Reader):
        def read(self, path: Path) -> ModelDescriptor:
            if "window" not in json.loads(path.joinpath("config.json").read_text()):
                raise PluginError("it fails")
            return super().read(path)

    tiny: Any = Implementation(tmp_path, CONFIG)
    plugins = Plugins.installed().extended(
        formats={"toy": lambda: Fragile(SOUND)}, architectures={"llama": architecture}
    )
    with pytest.raises(PluginError, match="it fails"):
        check_settings(tiny, SOUND, tiny.outputs(), plugins)


def test_variants_are_all_keys_that_are_known_and_all_values_that_are_accepted() -> None:
    names = HuggingFaceNames(
        "x",
        {},
        {"a": "a"},
        required={"act": ("silu", "swish"), "flag": (False, None)},
        computed={("b", "c"): lambda b, c: {}},
        defaults={"d": 1},
        keys_without_effect={
            "yes": "", "count": "", "share": "", "hidden_act": "", "word": "", "kinds": "", "none": ""
        },
    )  # fmt: skip
    known = {
        "a": 1, "b": None,
        "act": "silu", "flag": None, "yes": True, "count": 4, "share": 0.5, "hidden_act": "relu",
        "word": "x", "kinds": ["full_attention", 3], "none": None,
    }  # fmt: skip
    config = {"a": 1, "b": 2, "d": 3, "other": 4}
    found = [(each.key, each.value) for each in variants(config, known, names) if each.key not in ("b", "c")]
    assert found == [
        *(("a", ABSENT), ("d", ABSENT), ("a", None), ("a", 3), ("a", 0)),
        *(("act", "swish"), ("flag", False)),
        *(
            ("yes", False),
            ("count", 9),
            ("count", 2),
            ("share", 2.0),
            ("share", 0.25),
            *(("share", value) for value in (0.3, 0.55, 0.92)),
            ("hidden_act", "gelu"),
        ),
        *(("kinds", ["sliding_attention", 3]), ("kinds", [3, "full_attention"]), ("none", True), ("none", 3)),
        *(("none", value) for value in (12, 0.3, 0.55, 0.92)),
    ]
    assert [each.value for each in variants(config, known, names) if each.key == "b"] == [
        *(ABSENT, True, 3, 12, 0.3, 0.55, 0.92)
    ]


def test_a_key_of_a_section_is_changed_in_it() -> None:
    config = {"text_config": {"a": 1}, "b": 2}
    assert Variant("a", 3, "").of(config, "text_config") == {"text_config": {"a": 3}, "b": 2}
    assert Variant("b", ABSENT, "").of(config, "text_config") == {"text_config": {"a": 1}}
    assert Variant("c", 4, "").of(config, "text_config") == {"text_config": {"a": 1, "c": 4}, "b": 2}
    assert Variant("c", 4, "").of(config, None) == {**config, "c": 4}
    assert config == {"text_config": {"a": 1}, "b": 2}
    deep = {"rope_parameters": {"full": {"factor": 2.0, "kind": "x"}}}
    changed = Variant("rope_parameters.full.factor", ABSENT, "").of(deep, None)
    assert changed == {"rope_parameters": {"full": {"kind": "x"}}}


def test_another_key_may_have_a_dot_in_it() -> None:
    assert Variant("transformers.js_config", 1, "").of({"a": 2}, None) == {
        "a": 2,
        "transformers.js_config": 1,
    }


def test_settings_of_rope_are_changed_one_by_one() -> None:
    names = HuggingFaceNames("x", {}, {})
    config = {"rope_parameters": {"rope_type": "linear", "full": {"factor": 2.0}}, "other": {"a": 1}}
    found = [(each.key, each.value) for each in variants(config, config, names)]
    assert found == [
        ("rope_parameters.rope_type", ABSENT),
        *(("rope_parameters.full.factor", value) for value in (ABSENT, 5.0, 1.0)),
    ]
